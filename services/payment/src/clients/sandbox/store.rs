//! The sandbox's file.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    sqlite::{Database, SqliteSession, Step, json, write},
};
use spillway_types::{Clock, Money, Timestamp};
use sqlx::{Row, sqlite::SqliteRow};

use super::journal::{Charge, Deed, Entries, Journal, PayBack};

/// The sandbox's own schema.
const STEPS: &[Step] =
    &[Step { version: 2, name: "sandbox", sql: include_str!("../../../migrations/sandbox/0002_sandbox.sql") }];

/// The write end.
#[derive(Debug)]
pub struct SandboxStore<C> {
    session: SqliteSession<C>,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct SandboxReader {
    database: Database,
}

/// Opens the file.
///
/// # Errors
/// When it cannot be opened or its schema not be brought up to date.
pub async fn open<C: Clock>(path: &Path, clock: Arc<C>) -> Result<(SandboxStore<C>, SandboxReader), StoreError> {
    let database = Database::open(path, STEPS).await?;
    let store = SandboxStore { session: database.session(clock).await? };
    Ok((store, SandboxReader { database }))
}

// === impl SandboxStore ===

#[async_trait]
impl<C: Clock> Store<Journal> for SandboxStore<C> {
    type Session = SqliteSession<C>;

    fn session(&mut self) -> &mut SqliteSession<C> {
        &mut self.session
    }

    async fn load(&mut self, deeds: &[Deed], _: Timestamp) -> Result<Entries, StoreError> {
        let (mut charges, mut paid_back) = (BTreeSet::new(), BTreeSet::new());
        for deed in deeds {
            match deed {
                Deed::Authorize { reference, .. } | Deed::Capture { reference, .. } | Deed::Void { reference, .. } => {
                    charges.insert(reference);
                }
                Deed::PayBack { charge, .. } => {
                    charges.insert(charge);
                    paid_back.insert(charge);
                }
            }
        }
        let connection = self.session.connection();
        let rows = sqlx::query(
            "select reference, instrument, currency, amount, state
               from charge where reference in (select value from json_each(?1))",
        )
        .bind(json(charges)?)
        .fetch_all(&mut *connection)
        .await
        .map_err(StoreError::database("reading charges"))?;
        let charges = rows.iter().map(|row| Ok((row.get(0), charge(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
        if paid_back.is_empty() {
            return Ok(Entries { charges: Tracked::loaded(charges), ..Entries::default() });
        }
        let rows = sqlx::query(
            "select reference, charge, amount from payback where charge in (select value from json_each(?1))",
        )
        .bind(json(paid_back)?)
        .fetch_all(connection)
        .await
        .map_err(StoreError::database("reading paybacks"))?;
        let paybacks = rows.iter().map(|row| (row.get(0), PayBack { charge: row.get(1), amount: row.get(2) }));
        Ok(Entries { charges: Tracked::loaded(charges), paybacks: Tracked::loaded(paybacks) })
    }

    async fn save(&mut self, entries: &Entries) -> Result<(), StoreError> {
        let connection = self.session.connection();
        let insert = "insert into charge (reference, instrument, currency, amount, state)
                      select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each(?1)";
        let rows = entries.charges.inserted().map(|(reference, charge)| {
            let Charge { instrument, amount, state } = charge;
            (reference, instrument, amount.currency, amount.minor, state.as_str())
        });
        write(connection, "adding charges", insert, rows).await?;
        let update = "update charge set state = r.value ->> 1 from json_each(?1) r where reference = r.value ->> 0";
        let rows = entries.charges.updated().map(|(reference, charge)| (reference, charge.state.as_str()));
        write(connection, "changing charges", update, rows).await?;
        let insert = "insert into payback (reference, charge, amount)
                      select value ->> 0, value ->> 1, value ->> 2 from json_each(?1)";
        let rows = entries.paybacks.inserted().map(|(reference, payback)| (reference, &payback.charge, payback.amount));
        write(connection, "adding paybacks", insert, rows).await
    }
}

// === impl SandboxReader ===

impl SandboxReader {
    /// A charge.
    ///
    /// # Errors
    /// When the file does not answer.
    pub async fn charge(&self, reference: &str) -> Result<Option<Charge>, StoreError> {
        let sql = "select reference, instrument, currency, amount, state from charge where reference = ?1";
        let row = sqlx::query(sql).bind(reference).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a charge"))?.as_ref().map(charge).transpose()
    }

    /// Whether a payback was done.
    ///
    /// # Errors
    /// When the file does not answer.
    pub async fn is_paid_back(&self, reference: &str) -> Result<bool, StoreError> {
        let sql = "select 1 from payback where reference = ?1";
        let row = sqlx::query(sql).bind(reference).fetch_optional(self.database.readers()).await;
        row.map(|row| row.is_some()).map_err(StoreError::database("reading a payback"))
    }

    /// How much of a charge was given back, in minor units.
    ///
    /// # Errors
    /// When the file does not answer.
    pub async fn paid_back(&self, charge: &str) -> Result<i64, StoreError> {
        let sql = "select coalesce(sum(amount), 0) from payback where charge = ?1";
        let row = sqlx::query(sql).bind(charge).fetch_one(self.database.readers()).await;
        row.map(|row| row.get(0)).map_err(StoreError::database("summing paybacks"))
    }
}

fn charge(row: &SqliteRow) -> Result<Charge, StoreError> {
    let currency = row.get::<&str, _>(2).parse().map_err(StoreError::corrupt)?;
    Ok(Charge {
        instrument: row.get(1),
        amount: Money::new(row.get(3), currency),
        state: row.get::<&str, _>(4).parse().map_err(StoreError::corrupt)?,
    })
}
