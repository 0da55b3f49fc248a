//! Rows of the orders' tables as the domain reads them, from whichever database.

use spillway_storage::StoreError;
use spillway_types::{BuyerId, Fingerprint, OrderId, RequestId, TenantId, Timestamp};

use crate::domain::{Contents, Entry, Move, Order, Role, State};

/// Columns of an order, in the order that [`order`] reads them. Total and currency are for people and audits: the price
/// says the same.
pub(super) const ORDER_COLUMNS: &str = "order_id, tenant_id, buyer_id, state, version, fingerprint, price, address, \
                                        cancel_reason, created_at, updated_at";
/// Columns of an entry `e` of order `o`, in the order that [`entry`] reads them.
pub(super) const ENTRY_COLUMNS: &str = "e.order_id, e.version, e.name, e.from_state, e.to_state, e.role, e.reason, \
                                        e.request_id, e.at, o.buyer_id";

/// What a driver's row is asked for, by position. The databases differ in how they keep ids, and in nothing else.
pub(super) trait Fields {
    fn order_id(&self, at: usize) -> Result<OrderId, StoreError>;
    fn request_id(&self, at: usize) -> Result<Option<RequestId>, StoreError>;
    fn text(&self, at: usize) -> Option<&str>;
    fn number(&self, at: usize) -> i64;
}

pub(super) fn order(row: &impl Fields) -> Result<Order, StoreError> {
    Ok(Order {
        order_id: row.order_id(0)?,
        tenant_id: TenantId::new(required(row, 1)?).map_err(StoreError::corrupt)?,
        buyer_id: buyer(row.text(2))?,
        contents: contents(row)?,
        state: state(required(row, 3)?)?,
        version: row.number(4),
        cancel_reason: required(row, 8)?.to_owned(),
        created_at: Timestamp::from_micros(row.number(9)),
        updated_at: Timestamp::from_micros(row.number(10)),
    })
}

fn contents(row: &impl Fields) -> Result<Option<Contents>, StoreError> {
    let Some(fingerprint) = row.text(5) else { return Ok(None) };
    Ok(Some(Contents {
        fingerprint: Fingerprint::stored(fingerprint.to_owned()),
        price: serde_json::from_str(required(row, 6)?).map_err(StoreError::corrupt)?,
        address: serde_json::from_str(required(row, 7)?).map_err(StoreError::corrupt)?,
    }))
}

pub(super) fn entry(row: &impl Fields) -> Result<Entry, StoreError> {
    let (step, role) = (required(row, 2)?, required(row, 5)?);
    Ok(Entry {
        order_id: row.order_id(0)?,
        version: row.number(1),
        step: Move::from_stored(step).ok_or_else(|| StoreError::corrupt(format!("move {step:?}")))?,
        from_state: row.text(3).map(state).transpose()?,
        to_state: state(required(row, 4)?)?,
        role: Role::from_stored(role).ok_or_else(|| StoreError::corrupt(format!("role {role:?}")))?,
        reason: required(row, 6)?.to_owned(),
        request_id: row.request_id(7)?,
        at: Timestamp::from_micros(row.number(8)),
        buyer_id: buyer(row.text(9))?,
    })
}

fn required(row: &impl Fields, at: usize) -> Result<&str, StoreError> {
    row.text(at).ok_or_else(|| StoreError::corrupt(format!("nothing in column {at}")))
}

fn state(name: &str) -> Result<State, StoreError> {
    State::from_stored(name).ok_or_else(|| StoreError::corrupt(format!("order state {name:?}")))
}

fn buyer(name: Option<&str>) -> Result<Option<BuyerId>, StoreError> {
    name.map(BuyerId::new).transpose().map_err(StoreError::corrupt)
}
