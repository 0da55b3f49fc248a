//! Payments and wallets in a SQLite file.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    idempotency::{self, Key},
    outbox,
    sqlite::{Database, SqliteSession, Step, json},
};
use spillway_types::{BuyerId, Clock, OrderId, Timestamp};

use super::{Cursor, Reader, Rows, Till, Unsettled, record_key};
use crate::domain::{Command, Coupon, CouponKey, Payment, State, Wallet};

mod rows;

/// The service's own schema.
const STEPS: &[Step] =
    &[Step { version: 2, name: "payments", sql: include_str!("../../migrations/sqlite/0002_payments.sql") }];

/// The write end.
#[derive(Debug)]
pub struct SqliteStore<C> {
    session: SqliteSession<C>,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    database: Database,
}

/// Opens the service's file.
///
/// # Errors
/// When the file cannot be opened or its schema not be brought up to date.
pub async fn open<C: Clock>(
    path: &Path,
    clock: Arc<C>,
) -> Result<(Database, SqliteStore<C>, SqliteReader), StoreError> {
    let database = Database::open(path, STEPS).await?;
    let store = SqliteStore { session: database.session(clock).await? };
    Ok((database.clone(), store, SqliteReader { database }))
}

// === impl SqliteStore ===

#[async_trait]
impl<C: Clock> Store<Till> for SqliteStore<C> {
    type Session = SqliteSession<C>;

    fn session(&mut self) -> &mut SqliteSession<C> {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command], _: Timestamp) -> Result<Rows, StoreError> {
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

/// The keys that a batch needs.
#[derive(Default)]
struct Wanted {
    payments: BTreeSet<OrderId>,
    /// Payments of which all refunds are needed.
    refunds: BTreeSet<OrderId>,
    wallets: BTreeSet<BuyerId>,
    coupons: BTreeSet<CouponKey>,
    records: Vec<Key>,
}

impl Wanted {
    fn by(commands: &[Command]) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            match command {
                Command::Authorize { body, .. } => {
                    wanted.payments.insert(body.payment_id);
                    wanted.wallets.extend((body.points > 0).then(|| body.buyer.clone()));
                    wanted.coupons.extend(body.coupon.clone().map(|code| (body.buyer.clone(), code)));
                }
                Command::Capture(payment_id) => drop(wanted.payments.insert(*payment_id)),
                Command::Void(void) => drop(wanted.payments.insert(void.payment_id)),
                Command::Refund(once) => {
                    wanted.payments.insert(once.body.payment_id);
                    wanted.refunds.insert(once.body.payment_id);
                    wanted.records.push(record_key(command, once));
                }
                Command::Settle { payment_id, outcome } => {
                    wanted.payments.insert(*payment_id);
                    wanted.refunds.extend(outcome.refund().map(|_| *payment_id));
                }
                Command::Resume { payment_id, refund } => {
                    wanted.payments.insert(*payment_id);
                    wanted.refunds.extend(refund.map(|_| *payment_id));
                }
                Command::GrantPoints(once) => {
                    wanted.wallets.insert(once.body.buyer.clone());
                    wanted.records.push(record_key(command, once));
                }
                Command::IssueCoupon(once) => {
                    wanted.coupons.insert((once.body.buyer.clone(), once.body.code.clone()));
                    wanted.records.push(record_key(command, once));
                }
            }
        }
        wanted
    }

    /// A payment that moves on touches what it holds.
    fn holding_of(&mut self, payment: &Payment) {
        if let Some(asked) = &payment.asked {
            self.wallets.extend((asked.tenders.points > 0).then(|| asked.buyer.clone()));
            self.coupons.extend(asked.tenders.coupon.clone().map(|code| (asked.buyer.clone(), code)));
        }
    }
}

// === impl SqliteReader ===

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

    async fn unsettled(&self, before: Timestamp, limit: u32) -> Result<Vec<Unsettled>, StoreError> {
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

impl SqliteReader {
    async fn connection(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.database.readers().acquire().await.map_err(StoreError::database("getting a reader"))
    }
}
