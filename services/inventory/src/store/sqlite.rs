//! The ledger in a SQLite file.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked, idempotency, outbox,
    sqlite::{Database, SqliteSession, Step, json, write},
};
use spillway_types::{Clock, OrderId, Sku, Timestamp};
use sqlx::SqliteConnection;

use self::rows::{ITEM_COLUMNS, RESERVATION_COLUMNS};
use super::{Ledger, Reader, Rows, record_key};
use crate::domain::{Command, Item, Reservation};

mod rows;

/// The service's own schema.
const STEPS: &[Step] =
    &[Step { version: 2, name: "ledger", sql: include_str!("../../migrations/sqlite/0002_ledger.sql") }];

/// Most lapsed promises that one batch takes back; the rest waits for the next one.
const LAPSED_MAX: i64 = 256;

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

/// Opens the ledger's file.
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
impl<C: Clock> Store<Ledger> for SqliteStore<C> {
    type Session = SqliteSession<C>;

    fn session(&mut self) -> &mut SqliteSession<C> {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command], now: Timestamp) -> Result<Rows, StoreError> {
        let wanted = Wanted::by(commands);
        let connection = self.session.connection();
        let mut reservations = reservations(connection, &wanted.orders).await?;
        if wanted.lapsed {
            reservations.extend(lapsed(connection, now).await?);
        }
        // A promise that ends touches the items of its lines.
        let mut skus = wanted.skus;
        skus.extend(reservations.iter().flat_map(|reservation| &reservation.lines).map(|line| line.sku.clone()));
        Ok(Rows {
            items: items(connection, &skus).await?,
            reservations: Tracked::loaded(reservations.into_iter().map(|row| (row.order_id, row))),
            records: idempotency::load(connection, wanted.records).await?,
            ..Rows::default()
        })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.connection();
        rows::save_items(connection, &rows.items).await?;
        rows::save_reservations(connection, &rows.reservations).await?;
        rows::save_movements(connection, &rows.movements).await?;
        idempotency::save(connection, &rows.records).await?;
        outbox::save(connection, &rows.events).await
    }
}

/// The keys that a batch needs.
#[derive(Default)]
struct Wanted {
    skus: BTreeSet<Sku>,
    orders: BTreeSet<OrderId>,
    records: Vec<idempotency::Key>,
    lapsed: bool,
}

impl Wanted {
    fn by(commands: &[Command]) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            match command {
                Command::CreateItem(once) => wanted.once(&once.body.sku, record_key(command, once)),
                Command::UpdateItem(once) => wanted.once(&once.body.sku, record_key(command, once)),
                Command::AdjustStock(once) => wanted.once(&once.body.sku, record_key(command, once)),
                Command::Reserve(reserve) => {
                    wanted.orders.insert(reserve.order_id);
                    wanted.skus.extend(reserve.lines.iter().map(|(sku, _)| sku.clone()));
                    wanted.lapsed = true;
                }
                Command::Confirm(confirm) => drop(wanted.orders.insert(confirm.order_id)),
                Command::Pin(order_id) | Command::Release(order_id) => drop(wanted.orders.insert(*order_id)),
                Command::Expire => wanted.lapsed = true,
            }
        }
        wanted
    }

    fn once(&mut self, sku: &Sku, key: idempotency::Key) {
        self.skus.insert(sku.clone());
        self.records.push(key);
    }
}

async fn items(connection: &mut SqliteConnection, skus: &BTreeSet<Sku>) -> Result<Tracked<Sku, Item>, StoreError> {
    if skus.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {ITEM_COLUMNS} from item where sku in (select value from json_each(?1))"
    )))
    .bind(json(skus)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading items"))?;
    let items = rows.iter().map(|row| rows::item(row).map(|item| (item.sku.clone(), item)));
    Ok(Tracked::loaded(items.collect::<Result<Vec<_>, _>>()?))
}

async fn reservations(
    connection: &mut SqliteConnection,
    orders: &BTreeSet<OrderId>,
) -> Result<Vec<Reservation>, StoreError> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {RESERVATION_COLUMNS} from reservation where order_id in (select value from json_each(?1))"
    )))
    .bind(json(orders)?)
    .fetch_all(&mut *connection)
    .await
    .map_err(StoreError::database("reading reservations"))?;
    rows::with_lines(connection, rows).await
}

async fn lapsed(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<Reservation>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {RESERVATION_COLUMNS} from reservation
          where state = 'HELD' and expires_at <= ?1 order by expires_at limit ?2"
    )))
    .bind(now.as_micros())
    .bind(LAPSED_MAX)
    .fetch_all(&mut *connection)
    .await
    .map_err(StoreError::database("reading lapsed reservations"))?;
    rows::with_lines(connection, rows).await
}

// === impl SqliteReader ===

#[cfg(test)]
impl SqliteReader {
    pub(crate) fn pool(&self) -> &sqlx::SqlitePool {
        self.database.readers()
    }
}

#[async_trait]
impl Reader for SqliteReader {
    async fn item(&self, sku: &Sku) -> Result<Option<Item>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {ITEM_COLUMNS} from item where sku = ?1"));
        let row = sqlx::query(sql).bind(sku.as_str()).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading an item"))?.as_ref().map(rows::item).transpose()
    }

    async fn items(&self, after: Option<&Sku>, limit: u32) -> Result<Vec<Item>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {ITEM_COLUMNS} from item where sku > ?1 order by sku limit ?2"));
        let rows = sqlx::query(sql)
            .bind(after.map_or("", Sku::as_str))
            .bind(limit)
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("listing items"))?;
        rows.iter().map(rows::item).collect()
    }

    async fn reservation(&self, order_id: OrderId) -> Result<Option<Reservation>, StoreError> {
        let mut connection =
            self.database.readers().acquire().await.map_err(StoreError::database("getting a reader"))?;
        Ok(reservations(&mut connection, &BTreeSet::from([order_id])).await?.pop())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
