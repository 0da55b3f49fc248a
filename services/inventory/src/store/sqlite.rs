//! The ledger in a SQLite file.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Session, Store, StoreError, Tracked,
    database::Step,
    idempotency, outbox,
    sqlite::{Database, SqliteSession, json, write},
};
use spillway_types::{Clock, OrderId, Sku, Timestamp};
use sqlx::SqliteConnection;

use self::rows::{ITEM_COLUMNS, RESERVATION_COLUMNS};
use super::{LAPSED_MAX, Ledger, Reader, Rows, wanted::Wanted};
use crate::domain::{Command, Item, Reservation, admission::Stock};

mod rows;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "ledger", sql: include_str!("../../migrations/sqlite/0002_ledger.sql") }];

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
}

/// Opens the ledger's file.
///
/// # Errors
/// When the file cannot be opened or its schema not be brought up to date.
pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<(Database, SqliteStore, SqliteReader), StoreError> {
    let database = Database::open(path, STEPS).await?;
    let (store, reader) = ends(&database, &clock).await?;
    Ok((database, store, reader))
}

/// The two ends of an open file. It has one write end at a time.
pub(super) async fn ends(
    database: &Database,
    clock: &Arc<dyn Clock>,
) -> Result<(SqliteStore, SqliteReader), StoreError> {
    let store = SqliteStore { session: database.session(Arc::clone(clock)).await? };
    Ok((store, SqliteReader { database: database.clone(), clock: Arc::clone(clock) }))
}

// === impl SqliteStore ===

#[async_trait]
impl Store<Ledger> for SqliteStore {
    type Session = SqliteSession;

    fn session(&mut self) -> &mut SqliteSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let wanted = Wanted::by(commands);
        let now = self.session.now().await?;
        let connection = self.session.connection();
        let mut reservations = reservations(connection, &wanted.orders).await?;
        if wanted.sweeps || !wanted.needed.is_empty() {
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

    async fn stocks(&self, skus: &[Sku]) -> Result<Vec<Stock>, StoreError> {
        let rows = sqlx::query(
            "select i.sku, i.available + coalesce(l.quantity, 0), i.version
               from item i
               left join (select sku, sum(quantity) as quantity
                            from reservation join reservation_line using (order_id)
                           where state = 'HELD' and expires_at <= ?2
                           group by sku) l using (sku)
              where i.sku in (select value from json_each(?1))",
        )
        .bind(json(skus)?)
        .bind(self.clock.now().as_micros())
        .fetch_all(self.database.readers())
        .await
        .map_err(StoreError::database("looking at stock"))?;
        rows.iter().map(rows::stock).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
