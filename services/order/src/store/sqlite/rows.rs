//! Rows of the orders' tables, to and from the domain.

use spillway_storage::{StoreError, Tracked};
use spillway_types::{BuyerId, Fingerprint, OrderId, TenantId, Timestamp};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::write;
use crate::domain::{Contents, Entry, Move, Order, Role, State};

/// Columns of an order, in the order that [`order`] reads them. Total and currency are for people and audits: the price
/// says the same.
pub(super) const ORDER_COLUMNS: &str = "order_id, tenant_id, buyer_id, state, version, fingerprint, price, address, \
                                        cancel_reason, created_at, updated_at";
/// Columns of an entry `e` of order `o`, in the order that [`entry`] reads them.
pub(super) const ENTRY_COLUMNS: &str = "e.order_id, e.version, e.name, e.from_state, e.to_state, e.role, e.reason, \
                                        e.request_id, e.at, o.buyer_id";

pub(super) fn order(row: &SqliteRow) -> Result<Order, StoreError> {
    Ok(Order {
        order_id: row.get::<&str, _>(0).parse().map_err(StoreError::corrupt)?,
        tenant_id: TenantId::new(row.get::<String, _>(1)).map_err(StoreError::corrupt)?,
        buyer_id: buyer(row.get(2))?,
        contents: contents(row)?,
        state: state(row.get(3))?,
        version: row.get(4),
        cancel_reason: row.get(8),
        created_at: Timestamp::from_micros(row.get(9)),
        updated_at: Timestamp::from_micros(row.get(10)),
    })
}

fn contents(row: &SqliteRow) -> Result<Option<Contents>, StoreError> {
    let Some(fingerprint) = row.get::<Option<String>, _>(5) else { return Ok(None) };
    Ok(Some(Contents {
        fingerprint: Fingerprint::stored(fingerprint),
        price: serde_json::from_str(row.get(6)).map_err(StoreError::corrupt)?,
        address: serde_json::from_str(row.get(7)).map_err(StoreError::corrupt)?,
    }))
}

pub(super) fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    let (step, role): (&str, &str) = (row.get(2), row.get(5));
    let request_id: Option<&str> = row.get(7);
    Ok(Entry {
        order_id: row.get::<&str, _>(0).parse().map_err(StoreError::corrupt)?,
        version: row.get(1),
        step: Move::from_stored(step).ok_or_else(|| StoreError::corrupt(format!("move {step:?}")))?,
        from_state: row.get::<Option<&str>, _>(3).map(state).transpose()?,
        to_state: state(row.get(4))?,
        role: Role::from_stored(role).ok_or_else(|| StoreError::corrupt(format!("role {role:?}")))?,
        reason: row.get(6),
        request_id: request_id.map(str::parse).transpose().map_err(StoreError::corrupt)?,
        at: Timestamp::from_micros(row.get(8)),
        buyer_id: buyer(row.get(9))?,
    })
}

fn state(name: &str) -> Result<State, StoreError> {
    State::from_stored(name).ok_or_else(|| StoreError::corrupt(format!("order state {name:?}")))
}

fn buyer(name: Option<String>) -> Result<Option<BuyerId>, StoreError> {
    name.map(TryInto::try_into).transpose().map_err(StoreError::corrupt)
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
