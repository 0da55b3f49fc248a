//! Rows of the orders' tables, from and to SQLite.

use spillway_storage::{StoreError, Tracked};
use spillway_types::{OrderId, RequestId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::write;
use crate::{
    domain::{Entry, Order},
    store::rows::Fields,
};

// === impl SqliteRow ===

impl Fields for SqliteRow {
    fn order_id(&self, at: usize) -> Result<OrderId, StoreError> {
        self.get::<&str, _>(at).parse().map_err(StoreError::corrupt)
    }

    fn request_id(&self, at: usize) -> Result<Option<RequestId>, StoreError> {
        self.text(at).map(str::parse).transpose().map_err(StoreError::corrupt)
    }

    fn text(&self, at: usize) -> Option<&str> {
        self.get(at)
    }

    fn number(&self, at: usize) -> i64 {
        self.get(at)
    }
}

pub(super) async fn save_orders(
    connection: &mut SqliteConnection,
    orders: &Tracked<OrderId, Order>,
) -> Result<(), StoreError> {
    let insert = "insert into orders (order_id, tenant_id, buyer_id, state, version, fingerprint, price, total_minor,
                                      currency, address, cancel_reason, created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
                    from json_each(?1)";
    let rows = orders.inserted().map(|(_, order)| {
        let contents = order.contents.as_ref();
        // Price and address become text in the row: `->>` gives the text of an object.
        serde_json::json!([
            order.order_id,
            order.tenant_id,
            order.buyer_id,
            order.state,
            order.version,
            contents.map(|contents| &contents.fingerprint),
            contents.map(|contents| &contents.price),
            contents.map(|contents| contents.price.total.minor),
            contents.map(|contents| contents.price.total.currency),
            contents.map(|contents| &contents.address),
            order.cancel_reason,
            order.created_at,
            order.updated_at,
        ])
    });
    write(connection, "adding orders", insert, rows).await?;
    let update = "update orders
                     set state = r.value ->> 1, version = r.value ->> 2, cancel_reason = r.value ->> 3,
                         updated_at = r.value ->> 4
                    from json_each(?1) r
                   where orders.order_id = r.value ->> 0";
    let rows = orders
        .updated()
        .map(|(order_id, order)| (order_id, order.state, order.version, &order.cancel_reason, order.updated_at));
    write(connection, "moving orders", update, rows).await
}

pub(super) async fn save_entries(
    connection: &mut SqliteConnection,
    entries: &Tracked<(OrderId, i64), Entry>,
) -> Result<(), StoreError> {
    let insert = "insert into order_event (order_id, version, name, from_state, to_state, role, reason, request_id, at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8
                    from json_each(?1)";
    let rows = entries.inserted().map(|(_, entry)| {
        let Entry { order_id, version, step, from_state, to_state, role, reason, request_id, at, buyer_id: _ } = entry;
        (order_id, version, step, from_state, to_state, role, reason, request_id, at)
    });
    write(connection, "writing the audit trail", insert, rows).await
}
