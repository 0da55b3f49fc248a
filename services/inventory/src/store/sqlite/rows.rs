//! Rows of the ledger's tables, to and from the domain.

use std::collections::BTreeMap;

use spillway_storage::{StoreError, Tracked};
use spillway_types::{Fingerprint, Money, OrderId, Sku, Timestamp};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{json, write};
use crate::{
    domain::{Item, Line, Movement, Reservation, admission::Stock},
    store::stored_state,
};

/// Columns of an item, in the order that [`item`] reads them.
pub(super) const ITEM_COLUMNS: &str =
    "sku, title, currency, unit_price, on_hand, available, held, sold_unshipped, version, created_at, updated_at";
/// Columns of a reservation, in the order that [`with_lines`] reads them.
pub(super) const RESERVATION_COLUMNS: &str =
    "order_id, buyer_id, fingerprint, state, expires_at, refusal, version, created_at, updated_at";

pub(super) fn item(row: &SqliteRow) -> Result<Item, StoreError> {
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
pub(super) fn stock(row: &SqliteRow) -> Result<Stock, StoreError> {
    let sku = Sku::new(row.get::<String, _>(0)).map_err(StoreError::corrupt)?;
    Ok(Stock { sku, available: row.get(1), version: row.get(2) })
}

/// Reservations with their lines.
pub(super) async fn with_lines(
    connection: &mut SqliteConnection,
    rows: Vec<SqliteRow>,
) -> Result<Vec<Reservation>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let reservations = rows.iter().map(reservation).collect::<Result<Vec<_>, _>>()?;
    let mut lines = lines(connection, reservations.iter().map(|reservation| reservation.order_id)).await?;
    let with = |reservation: Reservation| {
        let lines = lines.remove(&reservation.order_id).unwrap_or_default();
        Reservation { lines, ..reservation }
    };
    Ok(reservations.into_iter().map(with).collect())
}

fn reservation(row: &SqliteRow) -> Result<Reservation, StoreError> {
    let buyer: Option<String> = row.get(1);
    let refusal: Option<&str> = row.get(5);
    Ok(Reservation {
        order_id: row.get::<&str, _>(0).parse().map_err(StoreError::corrupt)?,
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

async fn lines(
    connection: &mut SqliteConnection,
    orders: impl Iterator<Item = OrderId>,
) -> Result<BTreeMap<OrderId, Vec<Line>>, StoreError> {
    let rows = sqlx::query(
        "select order_id, sku, title, quantity, confirmed, currency, unit_price
           from reservation_line
          where order_id in (select value from json_each(?1))
          order by order_id, sku",
    )
    .bind(json(orders)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading reservation lines"))?;
    let mut lines: BTreeMap<OrderId, Vec<Line>> = BTreeMap::new();
    for row in rows {
        let order_id = row.get::<&str, _>(0).parse().map_err(StoreError::corrupt)?;
        lines.entry(order_id).or_default().push(Line {
            sku: Sku::new(row.get::<String, _>(1)).map_err(StoreError::corrupt)?,
            title: row.get(2),
            quantity: row.get(3),
            confirmed: row.get(4),
            unit_price: Money::new(row.get(6), row.get::<&str, _>(5).parse().map_err(StoreError::corrupt)?),
        });
    }
    Ok(lines)
}

pub(super) async fn save_items(
    connection: &mut SqliteConnection,
    items: &Tracked<Sku, Item>,
) -> Result<(), StoreError> {
    let row = |item: &Item| {
        serde_json::json!([
            item.sku,
            item.title,
            item.unit_price.currency,
            item.unit_price.minor,
            item.on_hand,
            item.available,
            item.held,
            item.sold_unshipped,
            item.version,
            item.created_at,
            item.updated_at,
        ])
    };
    let insert = "insert into item (sku, title, currency, unit_price, on_hand, available, held, sold_unshipped,
                                    version, created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8, value ->> 9, value ->> 10
                    from json_each(?1)";
    write(connection, "adding items", insert, items.inserted().map(|(_, item)| row(item))).await?;
    let update = "update item
                     set title = r.value ->> 1, unit_price = r.value ->> 3, on_hand = r.value ->> 4,
                         available = r.value ->> 5, held = r.value ->> 6, sold_unshipped = r.value ->> 7,
                         version = r.value ->> 8, updated_at = r.value ->> 10
                    from json_each(?1) r
                   where item.sku = r.value ->> 0";
    write(connection, "changing items", update, items.updated().map(|(_, item)| row(item))).await
}

pub(super) async fn save_reservations(
    connection: &mut SqliteConnection,
    reservations: &Tracked<OrderId, Reservation>,
) -> Result<(), StoreError> {
    let insert = "insert into reservation (order_id, buyer_id, fingerprint, state, expires_at, refusal, version,
                                           created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8
                    from json_each(?1)";
    let rows = reservations.inserted().map(|(_, reservation)| {
        let refusal = reservation.refusal.as_ref().map(serde_json::to_string).transpose();
        refusal.map_err(StoreError::corrupt).map(|refusal| {
            (
                reservation.order_id,
                &reservation.buyer_id,
                &reservation.fingerprint,
                reservation.state,
                reservation.expires_at,
                refusal,
                reservation.version,
                reservation.created_at,
                reservation.updated_at,
            )
        })
    });
    write(connection, "adding reservations", insert, rows.collect::<Result<Vec<_>, _>>()?).await?;
    let update = "update reservation
                     set state = r.value ->> 1, expires_at = r.value ->> 2, version = r.value ->> 3,
                         updated_at = r.value ->> 4
                    from json_each(?1) r
                   where reservation.order_id = r.value ->> 0";
    let rows = reservations.updated().map(|(order_id, r)| (order_id, r.state, r.expires_at, r.version, r.updated_at));
    write(connection, "changing reservations", update, rows).await?;
    save_lines(connection, reservations).await
}

async fn save_lines(
    connection: &mut SqliteConnection,
    reservations: &Tracked<OrderId, Reservation>,
) -> Result<(), StoreError> {
    let insert = "insert into reservation_line (order_id, sku, title, quantity, confirmed, currency, unit_price)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
                    from json_each(?1)";
    let lines = reservations.inserted().flat_map(|(order_id, reservation)| {
        reservation.lines.iter().map(move |line| {
            let Line { sku, title, quantity, confirmed, unit_price } = line;
            (order_id, sku, title, quantity, confirmed, unit_price.currency, unit_price.minor)
        })
    });
    write(connection, "adding reservation lines", insert, lines).await?;
    // Only a partial or whole confirmation ever changes a line.
    let update = "update reservation_line
                     set confirmed = r.value ->> 2
                    from json_each(?1) r
                   where reservation_line.order_id = r.value ->> 0 and reservation_line.sku = r.value ->> 1";
    let lines = reservations.updated().flat_map(|(order_id, reservation)| {
        let sold = reservation.lines.iter().filter(|line| line.confirmed > 0);
        sold.map(move |line| (order_id, &line.sku, line.confirmed))
    });
    write(connection, "changing reservation lines", update, lines).await
}

pub(super) async fn save_movements(
    connection: &mut SqliteConnection,
    movements: &[Movement],
) -> Result<(), StoreError> {
    let insert = "insert into movement (sku, kind, order_id, on_hand, available, held, sold_unshipped, at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7
                    from json_each(?1)";
    let rows = movements.iter().map(|movement| {
        let Movement { sku, kind, order_id, on_hand, available, held, sold_unshipped, at } = movement;
        (sku, kind.as_str(), order_id, on_hand, available, held, sold_unshipped, at)
    });
    write(connection, "writing movements", insert, rows).await
}
