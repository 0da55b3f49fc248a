//! The ledger in Postgres. Replicas write side by side: rows' locks and unique keys decide among them.
//!
//! Every batch locks in one order (reservations by order, then items by SKU, then records), so that replicas wait for
//! each other but never in a circle.

use std::collections::BTreeSet;

use async_trait::async_trait;
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    postgres::{Database, NOW, PgSession, column, idempotency, outbox},
};
use spillway_types::{OrderId, Sku};
use sqlx::PgConnection;

use self::rows::{ITEM_COLUMNS, LINE_COLUMNS, RESERVATION_COLUMNS};
use super::{LAPSED_MAX, Ledger, Reader, Rows, wanted::Wanted};
use crate::domain::{Command, Item, Reservation, admission::Stock};

mod rows;
mod save;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "ledger", sql: include_str!("../../migrations/postgres/0002_ledger.sql") }];

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
    /// A writer's end; replicas may have one each.
    pub fn new(database: &Database) -> Self {
        Self { session: database.session() }
    }
}

#[async_trait]
impl Store<Ledger> for PgStore {
    type Session = PgSession;

    fn session(&mut self) -> &mut PgSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let wanted = Wanted::by(commands);
        let connection = self.session.connection()?;
        let mut reservations = touched(connection, &wanted).await?;
        if wanted.sweeps {
            reservations.extend(swept(connection).await?);
        }
        let reservations = rows::with_lines(connection, reservations).await?;
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
        let connection = self.session.connection()?;
        save::reservations(connection, &rows.reservations).await?;
        save::items(connection, &rows.items).await?;
        save::movements(connection, &rows.movements).await?;
        idempotency::save(connection, &rows.records).await?;
        outbox::save(connection, &rows.events).await
    }
}

/// Locks the reservations of a batch, and with them the lapsed ones whose units its Reserves may need. Both in one
/// statement, so that all are locked in one order: who skipped a locked one instead would refuse for good a buyer for whom
/// there was enough. Only batches that want the same SKUs meet here, and those meet again at the items.
///
/// The time is a subquery, here and below: asked once a statement, it can be looked for in an index.
async fn touched(connection: &mut PgConnection, wanted: &Wanted) -> Result<Vec<Reservation>, StoreError> {
    if wanted.orders.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {RESERVATION_COLUMNS}
           from reservation
          where order_id = any($1 || array(
                    select r.order_id
                      from reservation r
                     where r.expires_at <= (select {NOW})
                       and exists (select from reservation_line l where l.order_id = r.order_id and l.sku = any($2))
                     order by r.expires_at
                     limit {LAPSED_MAX}))
          order by order_id
            for update"
    )))
    .bind(column(&wanted.orders, |order_id| order_id.uuid()))
    .bind(column(&wanted.needed, |sku| sku.as_str()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("locking reservations"))?;
    rows.iter().map(rows::reservation).collect()
}

/// Locks lapsed reservations for the sweeper, which leaves those to others that others have in hand.
async fn swept(connection: &mut PgConnection) -> Result<Vec<Reservation>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {RESERVATION_COLUMNS}
           from reservation
          where expires_at <= (select {NOW})
          order by expires_at
          limit {LAPSED_MAX}
            for update skip locked"
    )))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("locking lapsed reservations"))?;
    rows.iter().map(rows::reservation).collect()
}

async fn items(connection: &mut PgConnection, skus: &BTreeSet<Sku>) -> Result<Tracked<Sku, Item>, StoreError> {
    if skus.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {ITEM_COLUMNS} from item where sku = any($1) order by sku for update"
    )))
    .bind(column(skus, Sku::as_str))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("locking items"))?;
    let items = rows.iter().map(|row| rows::item(row).map(|item| (item.sku.clone(), item)));
    Ok(Tracked::loaded(items.collect::<Result<Vec<_>, _>>()?))
}

// === impl PgReader ===

impl PgReader {
    /// A reader beside the writer.
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Reader for PgReader {
    async fn item(&self, sku: &Sku) -> Result<Option<Item>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {ITEM_COLUMNS} from item where sku = $1"));
        let row = sqlx::query(sql).bind(sku.as_str()).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading an item"))?.as_ref().map(rows::item).transpose()
    }

    async fn items(&self, after: Option<&Sku>, limit: u32) -> Result<Vec<Item>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {ITEM_COLUMNS} from item where sku > $1 order by sku limit $2"));
        let rows = sqlx::query(sql)
            .bind(after.map_or("", Sku::as_str))
            .bind(i64::from(limit))
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("listing items"))?;
        rows.iter().map(rows::item).collect()
    }

    async fn reservation(&self, order_id: OrderId) -> Result<Option<Reservation>, StoreError> {
        // One statement, so that a reservation and its lines are of one moment.
        let sql = format!(
            "select {RESERVATION_COLUMNS}, {LINE_COLUMNS}
               from reservation r left join reservation_line l using (order_id)
              where order_id = $1
              order by sku"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(order_id.uuid()).fetch_all(self.database.readers()).await;
        rows::joined(&rows.map_err(StoreError::database("reading a reservation"))?)
    }

    async fn stocks(&self, skus: &[Sku]) -> Result<Vec<Stock>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select i.sku, i.available + coalesce(l.quantity, 0), i.version
               from item i
               left join (select l.sku, sum(l.quantity)::bigint as quantity
                            from (select order_id
                                    from reservation
                                   where expires_at <= (select {NOW})
                                   order by expires_at
                                   limit {LAPSED_MAX}) r
                            join reservation_line l using (order_id)
                           where l.sku = any($1)
                           group by l.sku) l using (sku)
              where i.sku = any($1)"
        )))
        .bind(column(skus, Sku::as_str))
        .fetch_all(self.database.readers())
        .await
        .map_err(StoreError::database("looking at stock"))?;
        rows.iter().map(rows::stock).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}

#[cfg(test)]
mod tests;
