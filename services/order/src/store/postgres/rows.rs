//! Rows of the orders' tables, from and to Postgres: one statement a table, an array a column.

use serde::Serialize;
use spillway_storage::{StoreError, Tracked, postgres::column};
use spillway_types::{Fingerprint, OrderId, RequestId};
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    domain::{Contents, Entry, Order, State},
    store::rows::Fields,
};

// === impl PgRow ===

impl Fields for PgRow {
    fn order_id(&self, at: usize) -> Result<OrderId, StoreError> {
        Ok(OrderId::new(self.get(at)))
    }

    fn request_id(&self, at: usize) -> Result<Option<RequestId>, StoreError> {
        Ok(self.get::<Option<_>, _>(at).map(RequestId::new))
    }

    fn text(&self, at: usize) -> Option<&str> {
        self.get(at)
    }

    fn number(&self, at: usize) -> i64 {
        self.get(at)
    }
}

/// Adds orders and tombstones. One that another replica has added meanwhile is a conflict.
pub(super) async fn insert_orders(
    connection: &mut PgConnection,
    orders: &Tracked<OrderId, Order>,
) -> Result<(), StoreError> {
    let rows: Vec<&Order> = orders.inserted().map(|(_, order)| order).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into orders (order_id, tenant_id, buyer_id, state, version, fingerprint, price, total_minor,
                             currency, address, cancel_reason, created_at, updated_at)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                              $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[])",
    )
    .bind(column(&rows, |order| order.order_id.uuid()))
    .bind(column(&rows, |order| order.tenant_id.as_str()))
    .bind(column(&rows, |order| order.buyer_id.as_ref().map(|buyer_id| buyer_id.as_str())))
    .bind(column(&rows, |order| order.state.as_str()))
    .bind(column(&rows, |order| order.version))
    .bind(column(&rows, |order| order.contents.as_ref().map(|contents| Fingerprint::as_str(&contents.fingerprint))))
    .bind(texts(&rows, |contents| &contents.price)?)
    .bind(column(&rows, |order| order.contents.as_ref().map(|contents| contents.price.total.minor)))
    .bind(column(&rows, |order| order.contents.as_ref().map(|contents| contents.price.total.currency.as_str())))
    .bind(texts(&rows, |contents| &contents.address)?)
    .bind(column(&rows, |order| order.cancel_reason.as_str()))
    .bind(column(&rows, |order| order.created_at.as_micros()))
    .bind(column(&rows, |order| order.updated_at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("adding orders"))
}

/// A part of every order's contents, as JSON.
fn texts<T: Serialize>(rows: &[&Order], part: fn(&Contents) -> &T) -> Result<Vec<Option<String>>, StoreError> {
    let text = |contents| serde_json::to_string(part(contents)).map_err(StoreError::corrupt);
    rows.iter().map(|order| order.contents.as_ref().map(text).transpose()).collect()
}

/// Writes what moves change.
pub(super) async fn update_orders(
    connection: &mut PgConnection,
    orders: &Tracked<OrderId, Order>,
) -> Result<(), StoreError> {
    let rows: Vec<&Order> = orders.updated().map(|(_, order)| order).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update orders
            set state = r.state, version = r.version, cancel_reason = r.cancel_reason, updated_at = r.updated_at
           from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[])
                as r (order_id, state, version, cancel_reason, updated_at)
          where orders.order_id = r.order_id",
    )
    .bind(column(&rows, |order| order.order_id.uuid()))
    .bind(column(&rows, |order| order.state.as_str()))
    .bind(column(&rows, |order| order.version))
    .bind(column(&rows, |order| order.cancel_reason.as_str()))
    .bind(column(&rows, |order| order.updated_at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("moving orders"))
}

/// Adds the moves of a batch to the audit trail.
pub(super) async fn insert_entries(
    connection: &mut PgConnection,
    entries: &Tracked<(OrderId, i64), Entry>,
) -> Result<(), StoreError> {
    let rows: Vec<&Entry> = entries.inserted().map(|(_, entry)| entry).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into order_event (order_id, version, name, from_state, to_state, role, reason, request_id, at)
         select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                              $8::uuid[], $9::bigint[])",
    )
    .bind(column(&rows, |entry| entry.order_id.uuid()))
    .bind(column(&rows, |entry| entry.version))
    .bind(column(&rows, |entry| entry.step.as_str()))
    .bind(column(&rows, |entry| entry.from_state.map(State::as_str)))
    .bind(column(&rows, |entry| entry.to_state.as_str()))
    .bind(column(&rows, |entry| entry.role.as_str()))
    .bind(column(&rows, |entry| entry.reason.as_str()))
    .bind(column(&rows, |entry| entry.request_id.map(RequestId::uuid)))
    .bind(column(&rows, |entry| entry.at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing the audit trail"))
}
