//! Payments and wallets in Postgres. Replicas write side by side: rows' locks and unique keys decide among them, in the
//! order that the migration names.

use std::time::Duration;

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    postgres::{Database, PgSession, column, idempotency, outbox},
};
use spillway_types::{BuyerId, OrderId};
use sqlx::{Postgres, pool::PoolConnection};

use super::{Cursor, Reader, Rows, Till, Unsettled, wanted::Wanted};
use crate::domain::{Command, Coupon, Payment, State, Wallet};

mod claim;
mod rows;
mod save;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "payments", sql: include_str!("../../migrations/postgres/0002_payments.sql") }];

/// The write end.
#[derive(Debug)]
pub struct PgStore {
    session: PgSession,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct PgReader {
    database: Database,
}

// === impl PgStore ===

impl PgStore {
    /// A write end of its own.
    pub fn new(database: &Database) -> Self {
        Self { session: database.session() }
    }
}

#[async_trait]
impl Store<Till> for PgStore {
    type Session = PgSession;

    fn session(&mut self) -> &mut PgSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let mut wanted = Wanted::by(commands);
        let connection = self.session.connection()?;
        let payments = rows::lock_payments(connection, &wanted.payments).await?;
        payments.iter().for_each(|payment| wanted.holding_of(payment));
        Ok(Rows {
            payments: Tracked::loaded(payments.into_iter().map(|payment| (payment.payment_id, payment))),
            refunds: rows::refunds(connection, &wanted.refunds).await?,
            wallets: rows::lock_wallets(connection, &wanted.wallets).await?,
            coupons: rows::lock_coupons(connection, &wanted.coupons).await?,
            // Behind the locks: a record that another replica has just written is seen.
            records: idempotency::load(connection, wanted.records).await?,
            ..Rows::default()
        })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.connection()?;
        save::payments(connection, &rows.payments).await?;
        save::refunds(connection, &rows.refunds).await?;
        save::wallets(connection, &rows.wallets).await?;
        save::entries(connection, &rows.transfers).await?;
        save::coupons(connection, &rows.coupons).await?;
        idempotency::save(connection, &rows.records).await?;
        outbox::save(connection, &rows.events).await
    }
}

// === impl PgReader ===

impl PgReader {
    /// A read end, on the database's pool.
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.database.readers().acquire().await.map_err(StoreError::database("getting a reader"))
    }
}

#[async_trait]
impl Reader for PgReader {
    async fn payment(&self, payment_id: OrderId) -> Result<Option<Payment>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {} from payment where payment_id = $1", rows::PAYMENT_COLUMNS));
        let row = sqlx::query(sql).bind(payment_id.uuid()).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a payment"))?.as_ref().map(rows::payment).transpose()
    }

    async fn payments(&self, states: &[State], after: Option<Cursor>, limit: u32) -> Result<Vec<Payment>, StoreError> {
        let columns = rows::PAYMENT_COLUMNS;
        let sql = sqlx::AssertSqlSafe(format!(
            "select {columns} from payment
              where (cardinality($1::text[]) = 0 or state = any($1))
                and (created_at, payment_id) < ($2, $3)
              order by created_at desc, payment_id desc limit $4"
        ));
        let rows = sqlx::query(sql)
            .bind(column(states, |state| state.as_str()))
            .bind(after.map_or(i64::MAX, |(at, _)| at.as_micros()))
            .bind(after.map(|(_, payment_id)| payment_id.uuid()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("listing payments"))?;
        rows.iter().map(rows::payment).collect()
    }

    async fn wallet(&self, buyer: &BuyerId) -> Result<(Wallet, Vec<Coupon>), StoreError> {
        let mut connection = self.connection().await?;
        let wallet = rows::wallet_of(&mut connection, buyer).await?;
        let wallet = wallet.unwrap_or_else(|| Wallet::empty(buyer.clone()));
        Ok((wallet, rows::coupons_of(&mut connection, buyer).await?))
    }

    async fn take_up(&self, idle: Duration, claim: Duration, limit: u32) -> Result<Vec<Unsettled>, StoreError> {
        // One statement and one transaction: a connection of the readers is as good as any.
        let mut connection = self.connection().await?;
        claim::take_up(&mut connection, idle, claim, limit).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
