//! Payments and wallets in a SQLite file.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    idempotency, outbox,
    sqlite::{Database, SqliteSession, json},
};
use spillway_types::{BuyerId, Clock, OrderId, Timestamp};

use super::{Cursor, Reader, Rows, Till, Unsettled, wanted::Wanted};
use crate::domain::{Command, Coupon, Payment, State, Wallet};

mod rows;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "payments", sql: include_str!("../../migrations/sqlite/0002_payments.sql") }];

/// The write end.
#[derive(Debug)]
pub struct SqliteStore {
    session: SqliteSession,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    database: Database,
    clock: Arc<dyn Clock>,
    /// The file has one writer, and that one began here: what was open before was left behind by a crash.
    opened_at: Timestamp,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// The write end of a file. There is one: a second waits for the first to end, and gives up after a while.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub async fn new(database: &Database, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self { session: database.session(clock).await? })
    }
}

#[async_trait]
impl Store<Till> for SqliteStore {
    type Session = SqliteSession;

    fn session(&mut self) -> &mut SqliteSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let mut wanted = Wanted::by(commands);
        let connection = self.session.connection();
        let payments = rows::payments(connection, &wanted.payments).await?;
        payments.iter().for_each(|payment| wanted.holding_of(payment));
        Ok(Rows {
            payments: Tracked::loaded(payments.into_iter().map(|payment| (payment.payment_id, payment))),
            refunds: rows::refunds(connection, &wanted.refunds).await?,
            wallets: rows::wallets(connection, &wanted.wallets).await?,
            coupons: rows::coupons(connection, &wanted.coupons).await?,
            records: idempotency::load(connection, wanted.records).await?,
            ..Rows::default()
        })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.connection();
        rows::save_payments(connection, &rows.payments).await?;
        rows::save_refunds(connection, &rows.refunds).await?;
        rows::save_wallets(connection, &rows.wallets).await?;
        rows::save_entries(connection, &rows.transfers).await?;
        rows::save_coupons(connection, &rows.coupons).await?;
        idempotency::save(connection, &rows.records).await?;
        outbox::save(connection, &rows.events).await
    }
}

// === impl SqliteReader ===

impl SqliteReader {
    /// A read end, on the file's pool, beside a writer that begins about now.
    pub fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        let opened_at = clock.now();
        Self { database, clock, opened_at }
    }

    async fn connection(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.database.readers().acquire().await.map_err(StoreError::database("getting a reader"))
    }
}

#[async_trait]
impl Reader for SqliteReader {
    async fn payment(&self, payment_id: OrderId) -> Result<Option<Payment>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(rows::payments(&mut connection, &BTreeSet::from([payment_id])).await?.pop())
    }

    async fn payments(&self, states: &[State], after: Option<Cursor>, limit: u32) -> Result<Vec<Payment>, StoreError> {
        let columns = rows::PAYMENT_COLUMNS;
        let sql = sqlx::AssertSqlSafe(format!(
            "select {columns} from payment
              where (?1 = '[]' or state in (select value from json_each(?1)))
                and (created_at, payment_id) < (?2, ?3)
              order by created_at desc, payment_id desc limit ?4"
        ));
        let states = json(states.iter().map(|state| state.as_str()))?;
        let rows = sqlx::query(sql)
            .bind(states)
            .bind(after.map_or(i64::MAX, |(at, _)| at.as_micros()))
            .bind(after.map(|(_, payment_id)| payment_id.to_string()).unwrap_or_default())
            .bind(limit)
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("listing payments"))?;
        rows.iter().map(rows::payment).collect()
    }

    async fn wallet(&self, buyer: &BuyerId) -> Result<(Wallet, Vec<Coupon>), StoreError> {
        let mut connection = self.connection().await?;
        let wallets = rows::wallets(&mut connection, &BTreeSet::from([buyer.clone()])).await?;
        let wallet = wallets.get(buyer).cloned().unwrap_or_else(|| Wallet::empty(buyer.clone()));
        Ok((wallet, rows::coupons_of(&mut connection, buyer).await?))
    }

    /// There is no other settler from whom to keep anything, so a look is enough.
    async fn take_up(&self, idle: Duration, _claim: Duration, limit: u32) -> Result<Vec<Unsettled>, StoreError> {
        let before = {
            let idle = i64::try_from(idle.as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(self.clock.now().as_micros().saturating_sub(idle)).max(self.opened_at)
        };
        let rows = sqlx::query(
            "select payment_id, null, updated_at from payment
              where state in ('AUTHORIZING', 'CAPTURING', 'VOIDING') and updated_at <= ?1
              union all
             select payment_id, request_id, updated_at from refund where state = 'PENDING' and updated_at <= ?1
              order by 3 limit ?2",
        )
        .bind(before.as_micros())
        .bind(limit)
        .fetch_all(self.database.readers())
        .await
        .map_err(StoreError::database("looking for unsettled payments"))?;
        rows.iter().map(rows::unsettled).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
