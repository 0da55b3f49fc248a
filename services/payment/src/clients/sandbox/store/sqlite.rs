//! The sandbox's books in a SQLite file.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    sqlite::{Database, SqliteSession, json, write},
};
use spillway_types::{Clock, Money};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Books, Wanted};
use crate::clients::sandbox::journal::{Charge, Deed, Entries, Journal, PayBack};

/// The sandbox's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "sandbox", sql: include_str!("../../../../migrations/sandbox/0002_sandbox.sql") }];

/// The write end.
#[derive(Debug)]
pub(super) struct SqliteStore {
    session: SqliteSession,
}

/// The read end.
#[derive(Clone, Debug)]
pub(super) struct SqliteBooks {
    database: Database,
}

pub(super) async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<(SqliteStore, SqliteBooks), StoreError> {
    let database = Database::open(path, STEPS).await?;
    let store = SqliteStore { session: database.session(clock).await? };
    Ok((store, SqliteBooks { database }))
}

// === impl SqliteStore ===

#[async_trait]
impl Store<Journal> for SqliteStore {
    type Session = SqliteSession;

    fn session(&mut self) -> &mut SqliteSession {
        &mut self.session
    }

    async fn load(&mut self, deeds: &[Deed]) -> Result<Entries, StoreError> {
        let wanted = Wanted::by(deeds);
        let connection = self.session.connection();
        Ok(Entries {
            charges: charges(connection, &wanted.charges).await?,
            paybacks: paybacks(connection, &wanted.paid_back).await?,
        })
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

async fn charges(
    connection: &mut SqliteConnection,
    references: &BTreeSet<&str>,
) -> Result<Tracked<String, Charge>, StoreError> {
    let rows = sqlx::query(
        "select reference, instrument, currency, amount, state
           from charge where reference in (select value from json_each(?1))",
    )
    .bind(json(references)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading charges"))?;
    let charges = rows.iter().map(|row| Ok((row.get(0), charge(row)?)));
    Ok(Tracked::loaded(charges.collect::<Result<Vec<_>, StoreError>>()?))
}

async fn paybacks(
    connection: &mut SqliteConnection,
    charges: &BTreeSet<&str>,
) -> Result<Tracked<String, PayBack>, StoreError> {
    if charges.is_empty() {
        return Ok(Tracked::default());
    }
    let rows =
        sqlx::query("select reference, charge, amount from payback where charge in (select value from json_each(?1))")
            .bind(json(charges)?)
            .fetch_all(connection)
            .await
            .map_err(StoreError::database("reading paybacks"))?;
    Ok(Tracked::loaded(rows.iter().map(|row| (row.get(0), PayBack { charge: row.get(1), amount: row.get(2) }))))
}

// === impl SqliteBooks ===

#[async_trait]
impl Books for SqliteBooks {
    async fn charge(&self, reference: &str) -> Result<Option<Charge>, StoreError> {
        let sql = "select reference, instrument, currency, amount, state from charge where reference = ?1";
        let row = sqlx::query(sql).bind(reference).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a charge"))?.as_ref().map(charge).transpose()
    }

    async fn is_paid_back(&self, charge: &str, reference: &str) -> Result<bool, StoreError> {
        let sql = "select 1 from payback where charge = ?1 and reference = ?2";
        let row = sqlx::query(sql).bind(charge).bind(reference).fetch_optional(self.database.readers()).await;
        row.map(|row| row.is_some()).map_err(StoreError::database("reading a payback"))
    }

    async fn paid_back(&self, charge: &str) -> Result<i64, StoreError> {
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
