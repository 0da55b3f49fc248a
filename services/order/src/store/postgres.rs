//! Orders in a Postgres database, which replicas of the service share.
//!
//! An order's row is the lock of everything about the order: a batch locks the rows that it finds, in key order, before
//! it reads their moves. A row that is absent cannot be locked, so two replicas may both decide to make it; the second
//! insert violates the key, and its batch is loaded and decided again. All replicas write their tables in one order
//! (orders, audit trail, inbox, outbox), each in key order, so they never wait for each other in a circle.

use std::collections::BTreeSet;

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    postgres::{Database, PgSession, column, inbox, outbox},
};
use spillway_types::OrderId;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{
    Listing, Orders, Reader, Rows,
    announcing::{Announcing, Audience},
    rows::{ENTRY_COLUMNS, ORDER_COLUMNS, entry, order},
    wanted::Wanted,
};
use crate::domain::{Command, Entry, Order, State};

pub mod hints;
mod rows;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "orders", sql: include_str!("../../migrations/postgres/0002_orders.sql") }];

/// The write end.
#[derive(Debug)]
pub struct PgStore {
    session: Announcing<PgSession>,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct PgReader {
    database: Database,
}

/// The two ends of an opened database. What is committed to it is told to `audience`.
pub(super) fn ends(database: &Database, audience: Audience) -> (PgStore, PgReader) {
    let store = PgStore { session: Announcing::new(database.session(), audience) };
    (store, PgReader { database: database.clone() })
}

// === impl PgStore ===

#[async_trait]
impl Store<Orders> for PgStore {
    type Session = Announcing<PgSession>;

    fn session(&mut self) -> &mut Self::Session {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let wanted = Wanted::by(commands);
        let connection = self.session.inner().connection()?;
        // Each statement sees what was committed before it began: the moves are read behind the locks of their orders.
        Ok(Rows {
            orders: orders(connection, &wanted.orders).await?,
            entries: trails(connection, &wanted.trails).await?,
            taken: inbox::load(connection, wanted.events).await?,
            events: Vec::new(),
        })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.inner().connection()?;
        rows::insert_orders(connection, &rows.orders).await?;
        rows::update_orders(connection, &rows.orders).await?;
        rows::insert_entries(connection, &rows.entries).await?;
        inbox::save(connection, &rows.taken).await?;
        outbox::save(connection, &rows.events).await?;
        self.session.touch(&rows.orders);
        Ok(())
    }
}

async fn orders(
    connection: &mut PgConnection,
    wanted: &BTreeSet<OrderId>,
) -> Result<Tracked<OrderId, Order>, StoreError> {
    if wanted.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {ORDER_COLUMNS} from orders where order_id = any($1) order by order_id for update"
    )))
    .bind(column(wanted, |order_id| order_id.uuid()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading orders"))?;
    let orders = rows.iter().map(|row| order(row).map(|order| (order.order_id, order)));
    Ok(Tracked::loaded(orders.collect::<Result<Vec<_>, _>>()?))
}

async fn trails(
    connection: &mut PgConnection,
    wanted: &BTreeSet<OrderId>,
) -> Result<Tracked<(OrderId, i64), Entry>, StoreError> {
    if wanted.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {ENTRY_COLUMNS}
           from order_event e
           join orders o on o.order_id = e.order_id
          where e.order_id = any($1)"
    )))
    .bind(column(wanted, |order_id| order_id.uuid()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading audit trails"))?;
    let entries = rows.iter().map(|row| entry(row).map(|entry| ((entry.order_id, entry.version), entry)));
    Ok(Tracked::loaded(entries.collect::<Result<Vec<_>, _>>()?))
}

// === impl PgReader ===

#[async_trait]
impl Reader for PgReader {
    async fn order(&self, order_id: OrderId) -> Result<Option<Order>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {ORDER_COLUMNS} from orders where order_id = $1"));
        let row = sqlx::query(sql).bind(order_id.uuid()).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading an order"))?.as_ref().map(order).transpose()
    }

    async fn orders(&self, listing: &Listing) -> Result<Vec<Order>, StoreError> {
        let Listing { tenant_id, buyer_id, states, before, limit } = listing;
        let mut query = QueryBuilder::<Postgres>::new(format!("select {ORDER_COLUMNS} from orders where tenant_id = "));
        query.push_bind(tenant_id.as_str());
        if let Some(buyer_id) = buyer_id {
            query.push(" and buyer_id = ").push_bind(buyer_id.as_str());
        }
        if !states.is_empty() {
            let names: Vec<_> = states.iter().copied().map(State::as_str).collect();
            query.push(" and state = any(").push_bind(names).push(")");
        }
        if let Some(before) = before {
            query.push(" and order_id < ").push_bind(before.uuid());
        }
        query.push(" order by order_id desc limit ").push_bind(i64::from(*limit));
        let rows = query.build().fetch_all(self.database.readers()).await;
        rows.map_err(StoreError::database("listing orders"))?.iter().map(order).collect()
    }

    async fn entries(&self, order_id: OrderId, after: i64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!(
            "select {ENTRY_COLUMNS}
               from order_event e
               join orders o on o.order_id = e.order_id
              where e.order_id = $1 and e.version > $2
              order by e.version limit $3"
        ));
        let rows = sqlx::query(sql)
            .bind(order_id.uuid())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("reading an audit trail"))?;
        rows.iter().map(entry).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
