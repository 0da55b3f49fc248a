//! Rows of the ledger's tables, as the domain knows them.

use std::collections::BTreeMap;

use spillway_storage::{StoreError, postgres::column};
use spillway_types::{Fingerprint, Money, OrderId, Sku, Timestamp};
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    domain::{Item, Line, Reservation, admission::Stock},
    store::stored_state,
};

/// Columns of an item, in the order that [`item`] reads them.
pub(super) const ITEM_COLUMNS: &str =
    "sku, title, currency, unit_price, on_hand, available, held, sold_unshipped, version, created_at, updated_at";
/// Columns of a reservation, in the order that [`reservation`] reads them.
pub(super) const RESERVATION_COLUMNS: &str =
    "order_id, buyer_id, fingerprint, state, expires_at, refusal, version, created_at, updated_at";
/// Columns of a line, in the order that [`line`] reads them.
pub(super) const LINE_COLUMNS: &str = "sku, title, quantity, confirmed, currency, unit_price";

/// How many columns of a reservation come before those of its line where both are read at once.
const BEFORE_LINE: usize = 9;

pub(super) fn item(row: &PgRow) -> Result<Item, StoreError> {
    Ok(Item {
        sku: Sku::new(row.get::<String, _>(0)).map_err(StoreError::corrupt)?,
        title: row.get(1),
        unit_price: Money::new(row.get(3), row.get::<&str, _>(2).parse().map_err(StoreError::corrupt)?),
        on_hand: row.get(4),
        available: row.get(5),
        held: row.get(6),
        sold_unshipped: row.get(7),
        version: row.get(8),
        created_at: Timestamp::from_micros(row.get(9)),
        updated_at: Timestamp::from_micros(row.get(10)),
    })
}

/// What there is of an item, from its SKU, units and version.
pub(super) fn stock(row: &PgRow) -> Result<Stock, StoreError> {
    let sku = Sku::new(row.get::<String, _>(0)).map_err(StoreError::corrupt)?;
    Ok(Stock { sku, available: row.get(1), version: row.get(2) })
}

/// A reservation, still without its lines.
pub(super) fn reservation(row: &PgRow) -> Result<Reservation, StoreError> {
    let buyer: Option<String> = row.get(1);
    let refusal: Option<&str> = row.get(5);
    Ok(Reservation {
        order_id: OrderId::new(row.get(0)),
        buyer_id: buyer.map(TryInto::try_into).transpose().map_err(StoreError::corrupt)?,
        fingerprint: row.get::<Option<String>, _>(2).map(Fingerprint::stored),
        state: stored_state(row.get(3))?,
        lines: Vec::new(),
        expires_at: row.get::<Option<i64>, _>(4).map(Timestamp::from_micros),
        refusal: refusal.map(serde_json::from_str).transpose().map_err(StoreError::corrupt)?,
        version: row.get(6),
        created_at: Timestamp::from_micros(row.get(7)),
        updated_at: Timestamp::from_micros(row.get(8)),
    })
}

/// One reservation from rows that hold it again with each of its lines, or, where it has none, once with nulls.
pub(super) fn joined(rows: &[PgRow]) -> Result<Option<Reservation>, StoreError> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let has_line = |row: &&PgRow| row.get::<Option<&str>, _>(BEFORE_LINE).is_some();
    let lines = rows.iter().filter(has_line).map(|row| line(row, BEFORE_LINE)).collect::<Result<_, _>>()?;
    Ok(Some(Reservation { lines, ..reservation(first)? }))
}

/// Reservations with their lines.
pub(super) async fn with_lines(
    connection: &mut PgConnection,
    reservations: Vec<Reservation>,
) -> Result<Vec<Reservation>, StoreError> {
    if reservations.is_empty() {
        return Ok(reservations);
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {LINE_COLUMNS}, order_id from reservation_line where order_id = any($1) order by order_id, sku"
    )))
    .bind(column(&reservations, |reservation| reservation.order_id.uuid()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading reservation lines"))?;
    let mut lines: BTreeMap<OrderId, Vec<Line>> = BTreeMap::new();
    for row in &rows {
        lines.entry(OrderId::new(row.get("order_id"))).or_default().push(line(row, 0)?);
    }
    let with = |reservation: Reservation| {
        let lines = lines.remove(&reservation.order_id).unwrap_or_default();
        Reservation { lines, ..reservation }
    };
    Ok(reservations.into_iter().map(with).collect())
}

fn line(row: &PgRow, at: usize) -> Result<Line, StoreError> {
    let units = |column: usize| u32::try_from(row.get::<i64, _>(column)).map_err(StoreError::corrupt);
    let currency = row.get::<&str, _>(at + 4).parse().map_err(StoreError::corrupt)?;
    Ok(Line {
        sku: Sku::new(row.get::<String, _>(at)).map_err(StoreError::corrupt)?,
        title: row.get(at + 1),
        quantity: units(at + 2)?,
        confirmed: units(at + 3)?,
        unit_price: Money::new(row.get(at + 5), currency),
    })
}
