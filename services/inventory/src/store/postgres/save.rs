//! What a batch has changed, written with one statement a table and kind of change, in key order.
//!
//! New rows are inserted plainly. Where another replica has inserted the same key since this batch looked for it, the
//! violated key makes the batch start over, and it then finds that row.

use spillway_storage::{StoreError, Tracked, postgres::column};
use spillway_types::{Fingerprint, OrderId, Sku, Timestamp};
use sqlx::PgConnection;

use crate::domain::{Item, Line, Movement, Reservation};

pub(super) async fn items(connection: &mut PgConnection, items: &Tracked<Sku, Item>) -> Result<(), StoreError> {
    let insert = "insert into item (sku, title, currency, unit_price, on_hand, available, held, sold_unshipped,
                                    version, updated_at, created_at)
                  select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                                       $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])";
    let rows: Vec<&Item> = items.inserted().map(|(_, item)| item).collect();
    write_items(connection, "adding items", insert, &rows).await?;
    let update = "update item i
                     set title = r.title, unit_price = r.unit_price, on_hand = r.on_hand, available = r.available,
                         held = r.held, sold_unshipped = r.sold_unshipped, version = r.version,
                         updated_at = r.updated_at
                    from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                                $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
                         as r (sku, title, currency, unit_price, on_hand, available, held, sold_unshipped, version,
                               updated_at, created_at)
                   where i.sku = r.sku";
    let rows: Vec<&Item> = items.updated().map(|(_, item)| item).collect();
    write_items(connection, "changing items", update, &rows).await
}

async fn write_items(
    connection: &mut PgConnection,
    doing: &'static str,
    sql: &'static str,
    items: &[&Item],
) -> Result<(), StoreError> {
    if items.is_empty() {
        return Ok(());
    }
    sqlx::query(sql)
        .bind(column(items, |item| item.sku.as_str()))
        .bind(column(items, |item| item.title.as_str()))
        .bind(column(items, |item| item.unit_price.currency.to_string()))
        .bind(column(items, |item| item.unit_price.minor))
        .bind(column(items, |item| item.on_hand))
        .bind(column(items, |item| item.available))
        .bind(column(items, |item| item.held))
        .bind(column(items, |item| item.sold_unshipped))
        .bind(column(items, |item| item.version))
        .bind(column(items, |item| item.updated_at.as_micros()))
        .bind(column(items, |item| item.created_at.as_micros()))
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::database(doing))
}

pub(super) async fn reservations(
    connection: &mut PgConnection,
    reservations: &Tracked<OrderId, Reservation>,
) -> Result<(), StoreError> {
    let inserted: Vec<&Reservation> = reservations.inserted().map(|(_, reservation)| reservation).collect();
    insert(connection, &inserted).await?;
    let updated: Vec<&Reservation> = reservations.updated().map(|(_, reservation)| reservation).collect();
    update(connection, &updated).await?;
    insert_lines(connection, &inserted).await?;
    update_lines(connection, &updated).await
}

async fn insert(connection: &mut PgConnection, reservations: &[&Reservation]) -> Result<(), StoreError> {
    if reservations.is_empty() {
        return Ok(());
    }
    let refusal = |reservation: &&Reservation| reservation.refusal.as_ref().map(serde_json::to_string).transpose();
    let refusals = reservations.iter().map(refusal).collect::<Result<Vec<_>, _>>().map_err(StoreError::corrupt)?;
    let expires_at = |reservation: &&Reservation| reservation.expires_at.map(Timestamp::as_micros);
    sqlx::query(
        "insert into reservation (order_id, buyer_id, fingerprint, state, expires_at, refusal, version, created_at,
                                  updated_at)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[],
                              $8::bigint[], $9::bigint[])",
    )
    .bind(column(reservations, |reservation| reservation.order_id.uuid()))
    .bind(column(reservations, |reservation| reservation.buyer_id.as_ref().map(|buyer| buyer.as_str())))
    .bind(column(reservations, |reservation| reservation.fingerprint.as_ref().map(Fingerprint::as_str)))
    .bind(column(reservations, |reservation| reservation.state.as_str()))
    .bind(column(reservations, expires_at))
    .bind(refusals)
    .bind(column(reservations, |reservation| reservation.version))
    .bind(column(reservations, |reservation| reservation.created_at.as_micros()))
    .bind(column(reservations, |reservation| reservation.updated_at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("adding reservations"))
}

async fn update(connection: &mut PgConnection, reservations: &[&Reservation]) -> Result<(), StoreError> {
    if reservations.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update reservation
            set state = r.state, expires_at = r.expires_at, version = r.version, updated_at = r.updated_at
           from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
                as r (order_id, state, expires_at, version, updated_at)
          where reservation.order_id = r.order_id",
    )
    .bind(column(reservations, |reservation| reservation.order_id.uuid()))
    .bind(column(reservations, |reservation| reservation.state.as_str()))
    .bind(column(reservations, |reservation| reservation.expires_at.map(Timestamp::as_micros)))
    .bind(column(reservations, |reservation| reservation.version))
    .bind(column(reservations, |reservation| reservation.updated_at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("changing reservations"))
}

async fn insert_lines(connection: &mut PgConnection, reservations: &[&Reservation]) -> Result<(), StoreError> {
    let lines: Vec<(OrderId, &Line)> = reservations.iter().flat_map(|reservation| lines_of(reservation)).collect();
    if lines.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into reservation_line (order_id, sku, title, quantity, confirmed, currency, unit_price)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])",
    )
    .bind(column(&lines, |(order_id, _)| order_id.uuid()))
    .bind(column(&lines, |(_, line)| line.sku.as_str()))
    .bind(column(&lines, |(_, line)| line.title.as_str()))
    .bind(column(&lines, |(_, line)| i64::from(line.quantity)))
    .bind(column(&lines, |(_, line)| i64::from(line.confirmed)))
    .bind(column(&lines, |(_, line)| line.unit_price.currency.to_string()))
    .bind(column(&lines, |(_, line)| line.unit_price.minor))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("adding reservation lines"))
}

/// Only a partial or whole confirmation ever changes a line.
async fn update_lines(connection: &mut PgConnection, reservations: &[&Reservation]) -> Result<(), StoreError> {
    let is_sold = |(_, line): &(OrderId, &Line)| line.confirmed > 0;
    let lines: Vec<(OrderId, &Line)> =
        reservations.iter().flat_map(|reservation| lines_of(reservation)).filter(is_sold).collect();
    if lines.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update reservation_line
            set confirmed = r.confirmed
           from unnest($1::uuid[], $2::text[], $3::bigint[]) as r (order_id, sku, confirmed)
          where reservation_line.order_id = r.order_id and reservation_line.sku = r.sku",
    )
    .bind(column(&lines, |(order_id, _)| order_id.uuid()))
    .bind(column(&lines, |(_, line)| line.sku.as_str()))
    .bind(column(&lines, |(_, line)| i64::from(line.confirmed)))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("changing reservation lines"))
}

fn lines_of(reservation: &Reservation) -> impl Iterator<Item = (OrderId, &Line)> {
    reservation.lines.iter().map(|line| (reservation.order_id, line))
}

pub(super) async fn movements(connection: &mut PgConnection, movements: &[Movement]) -> Result<(), StoreError> {
    if movements.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into movement (sku, kind, order_id, on_hand, available, held, sold_unshipped, at)
         select * from unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::bigint[])",
    )
    .bind(column(movements, |movement| movement.sku.as_str()))
    .bind(column(movements, |movement| movement.kind.as_str()))
    .bind(column(movements, |movement| movement.order_id.map(OrderId::uuid)))
    .bind(column(movements, |movement| movement.on_hand))
    .bind(column(movements, |movement| movement.available))
    .bind(column(movements, |movement| movement.held))
    .bind(column(movements, |movement| movement.sold_unshipped))
    .bind(column(movements, |movement| movement.at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing movements"))
}
