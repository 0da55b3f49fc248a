//! Orders in a SQLite file.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    inbox, outbox,
    sqlite::{Database, SqliteSession, json, write},
};
use spillway_types::{Clock, OrderId};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{
    Listing, Orders, Reader, Rows,
    announcing::{Announcing, Audience},
    hub::Hub,
    rows::{ENTRY_COLUMNS, ORDER_COLUMNS, entry, order},
    wanted::Wanted,
};
use crate::domain::{Command, Entry, Order, State};

mod rows;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "orders", sql: include_str!("../../migrations/sqlite/0002_orders.sql") }];

/// The write end.
#[derive(Debug)]
pub struct SqliteStore {
    session: Announcing<SqliteSession>,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    database: Database,
}

/// Opens the orders' file. What is committed to it is told to `hub`.
///
/// # Errors
/// When the file cannot be opened or its schema not be brought up to date, or when another writer does not give it up.
pub async fn open(
    path: &Path,
    clock: Arc<dyn Clock>,
    hub: Hub,
) -> Result<(Database, SqliteStore, SqliteReader), StoreError> {
    let database = Database::open(path, STEPS).await?;
    let (store, reader) = ends(&database, clock, Audience::local(hub)).await?;
    Ok((database, store, reader))
}

/// The two ends of an opened file. What is committed to it is told to `audience`.
pub(super) async fn ends(
    database: &Database,
    clock: Arc<dyn Clock>,
    audience: Audience,
) -> Result<(SqliteStore, SqliteReader), StoreError> {
    let store = SqliteStore { session: Announcing::new(database.session(clock).await?, audience) };
    Ok((store, SqliteReader { database: database.clone() }))
}

// === impl SqliteStore ===

#[async_trait]
impl Store<Orders> for SqliteStore {
    type Session = Announcing<SqliteSession>;

    fn session(&mut self) -> &mut Self::Session {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let wanted = Wanted::by(commands);
        let connection = self.session.inner().connection();
        Ok(Rows {
            orders: orders(connection, &wanted.orders).await?,
            entries: trails(connection, &wanted.trails).await?,
            taken: inbox::load(connection, wanted.events).await?,
            events: Vec::new(),
        })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.inner().connection();
        rows::save_orders(connection, &rows.orders).await?;
        rows::save_entries(connection, &rows.entries).await?;
        inbox::save(connection, &rows.taken).await?;
        outbox::save(connection, &rows.events).await?;
        self.session.touch(&rows.orders);
        Ok(())
    }
}

async fn orders(
    connection: &mut SqliteConnection,
    wanted: &BTreeSet<OrderId>,
) -> Result<Tracked<OrderId, Order>, StoreError> {
    if wanted.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {ORDER_COLUMNS} from orders where order_id in (select value from json_each(?1))"
    )))
    .bind(json(wanted)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading orders"))?;
    let orders = rows.iter().map(|row| order(row).map(|order| (order.order_id, order)));
    Ok(Tracked::loaded(orders.collect::<Result<Vec<_>, _>>()?))
}

async fn trails(
    connection: &mut SqliteConnection,
    wanted: &BTreeSet<OrderId>,
) -> Result<Tracked<(OrderId, i64), Entry>, StoreError> {
    if wanted.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {ENTRY_COLUMNS}
           from order_event e
           join orders o on o.order_id = e.order_id
          where e.order_id in (select value from json_each(?1))"
    )))
    .bind(json(wanted)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading audit trails"))?;
    let entries = rows.iter().map(|row| entry(row).map(|entry| ((entry.order_id, entry.version), entry)));
    Ok(Tracked::loaded(entries.collect::<Result<Vec<_>, _>>()?))
}

// === impl SqliteReader ===

#[async_trait]
impl Reader for SqliteReader {
    async fn order(&self, order_id: OrderId) -> Result<Option<Order>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {ORDER_COLUMNS} from orders where order_id = ?1"));
        let row = sqlx::query(sql).bind(order_id.to_string()).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading an order"))?.as_ref().map(order).transpose()
    }

    async fn orders(&self, listing: &Listing) -> Result<Vec<Order>, StoreError> {
        let Listing { tenant_id, buyer_id, states, before, limit } = listing;
        let mut query = QueryBuilder::<Sqlite>::new(format!("select {ORDER_COLUMNS} from orders where tenant_id = "));
        query.push_bind(tenant_id.as_str());
        if let Some(buyer_id) = buyer_id {
            query.push(" and buyer_id = ").push_bind(buyer_id.as_str());
        }
        if !states.is_empty() {
            let names = json(states.iter().copied().map(State::as_str))?;
            query.push(" and state in (select value from json_each(").push_bind(names).push("))");
        }
        if let Some(before) = before {
            query.push(" and order_id < ").push_bind(before.to_string());
        }
        query.push(" order by order_id desc limit ").push_bind(*limit);
        let rows = query.build().fetch_all(self.database.readers()).await;
        rows.map_err(StoreError::database("listing orders"))?.iter().map(order).collect()
    }

    async fn entries(&self, order_id: OrderId, after: i64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!(
            "select {ENTRY_COLUMNS}
               from order_event e
               join orders o on o.order_id = e.order_id
              where e.order_id = ?1 and e.version > ?2
              order by e.version limit ?3"
        ));
        let rows = sqlx::query(sql)
            .bind(order_id.to_string())
            .bind(after)
            .bind(limit)
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("reading an audit trail"))?;
        rows.iter().map(entry).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
