//! The sandbox's books in Postgres, where the sandboxes of all replicas are one company.

use std::collections::BTreeSet;

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    postgres::{Database, PgSession, column},
};
use spillway_types::Money;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{Books, Wanted};
use crate::clients::sandbox::journal::{Charge, Deed, Entries, Journal, PayBack};

/// The sandbox's own schema.
pub(super) const STEPS: &[Step] = &[Step {
    version: 2,
    name: "sandbox",
    sql: include_str!("../../../../migrations/sandbox/postgres/0002_sandbox.sql"),
}];

/// Columns of a charge, in the order that [`charge`] reads them.
const CHARGE_COLUMNS: &str = "reference, instrument, currency, amount, state";

/// The write end.
#[derive(Debug)]
pub(super) struct PgStore {
    session: PgSession,
}

/// The read end.
#[derive(Clone, Debug)]
pub(super) struct PgBooks {
    database: Database,
}

// === impl PgStore ===

impl PgStore {
    pub(super) fn new(database: &Database) -> Self {
        Self { session: database.session() }
    }
}

#[async_trait]
impl Store<Journal> for PgStore {
    type Session = PgSession;

    fn session(&mut self) -> &mut PgSession {
        &mut self.session
    }

    async fn load(&mut self, deeds: &[Deed]) -> Result<Entries, StoreError> {
        let wanted = Wanted::by(deeds);
        let connection = self.session.connection()?;
        Ok(Entries {
            charges: lock_charges(connection, &wanted.charges).await?,
            paybacks: paybacks(connection, &wanted.paid_back).await?,
        })
    }

    async fn save(&mut self, entries: &Entries) -> Result<(), StoreError> {
        let connection = self.session.connection()?;
        let insert = "insert into charge (reference, state, instrument, currency, amount)
                      select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])";
        let new: Vec<_> = entries.charges.inserted().collect();
        if !new.is_empty() {
            sqlx::query(insert)
                .bind(column(&new, |(reference, _)| reference.as_str()))
                .bind(column(&new, |(_, charge)| charge.state.as_str()))
                .bind(column(&new, |(_, charge)| charge.instrument.as_str()))
                .bind(column(&new, |(_, charge)| charge.amount.currency.as_str()))
                .bind(column(&new, |(_, charge)| charge.amount.minor))
                .execute(&mut *connection)
                .await
                .map_err(StoreError::database("adding charges"))?;
        }
        let update = "update charge c
                         set state = r.state
                        from unnest($1::text[], $2::text[]) r (reference, state)
                       where c.reference = r.reference";
        let changed: Vec<_> = entries.charges.updated().collect();
        if !changed.is_empty() {
            sqlx::query(update)
                .bind(column(&changed, |(reference, _)| reference.as_str()))
                .bind(column(&changed, |(_, charge)| charge.state.as_str()))
                .execute(&mut *connection)
                .await
                .map_err(StoreError::database("changing charges"))?;
        }
        save_paybacks(connection, &entries.paybacks).await
    }
}

async fn lock_charges(
    connection: &mut PgConnection,
    references: &BTreeSet<&str>,
) -> Result<Tracked<String, Charge>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {CHARGE_COLUMNS} from charge where reference = any($1) order by reference for update"
    )))
    .bind(column(references, |reference| *reference))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("locking charges"))?;
    let charges = rows.iter().map(|row| Ok((row.get(0), charge(row)?)));
    Ok(Tracked::loaded(charges.collect::<Result<Vec<_>, StoreError>>()?))
}

/// All paybacks of charges that are locked, which locks the paybacks as well.
async fn paybacks(
    connection: &mut PgConnection,
    charges: &BTreeSet<&str>,
) -> Result<Tracked<String, PayBack>, StoreError> {
    if charges.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query("select reference, charge, amount from payback where charge = any($1)")
        .bind(column(charges, |charge| *charge))
        .fetch_all(connection)
        .await
        .map_err(StoreError::database("reading paybacks"))?;
    Ok(Tracked::loaded(rows.iter().map(|row| (row.get(0), PayBack { charge: row.get(1), amount: row.get(2) }))))
}

async fn save_paybacks(connection: &mut PgConnection, paybacks: &Tracked<String, PayBack>) -> Result<(), StoreError> {
    let mut new: Vec<_> = paybacks.inserted().collect();
    if new.is_empty() {
        return Ok(());
    }
    new.sort_by_key(|(reference, payback)| (&payback.charge, *reference));
    sqlx::query(
        "insert into payback (charge, reference, amount) select * from unnest($1::text[], $2::text[], $3::bigint[])",
    )
    .bind(column(&new, |(_, payback)| payback.charge.as_str()))
    .bind(column(&new, |(reference, _)| reference.as_str()))
    .bind(column(&new, |(_, payback)| payback.amount))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("adding paybacks"))
}

// === impl PgBooks ===

impl PgBooks {
    pub(super) const fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Books for PgBooks {
    async fn charge(&self, reference: &str) -> Result<Option<Charge>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {CHARGE_COLUMNS} from charge where reference = $1"));
        let row = sqlx::query(sql).bind(reference).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a charge"))?.as_ref().map(charge).transpose()
    }

    async fn is_paid_back(&self, charge: &str, reference: &str) -> Result<bool, StoreError> {
        let sql = "select 1 from payback where charge = $1 and reference = $2";
        let row = sqlx::query(sql).bind(charge).bind(reference).fetch_optional(self.database.readers()).await;
        row.map(|row| row.is_some()).map_err(StoreError::database("reading a payback"))
    }

    async fn paid_back(&self, charge: &str) -> Result<i64, StoreError> {
        let sql = "select coalesce(sum(amount), 0)::bigint from payback where charge = $1";
        let row = sqlx::query(sql).bind(charge).fetch_one(self.database.readers()).await;
        row.map(|row| row.get(0)).map_err(StoreError::database("summing paybacks"))
    }
}

fn charge(row: &PgRow) -> Result<Charge, StoreError> {
    let currency = row.get::<&str, _>(2).parse().map_err(StoreError::corrupt)?;
    Ok(Charge {
        instrument: row.get(1),
        amount: Money::new(row.get(3), currency),
        state: row.get::<&str, _>(4).parse().map_err(StoreError::corrupt)?,
    })
}
