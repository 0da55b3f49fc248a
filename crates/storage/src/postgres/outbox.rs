//! The writers' side of the outbox in Postgres.

use spillway_types::Timestamp;
use sqlx::PgConnection;

use super::column;
use crate::{StoreError, bus::Event};

/// Writes the events of a batch, in the transaction of what caused them.
///
/// # Errors
/// When the database refuses.
pub async fn save(connection: &mut PgConnection, events: &[Event]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into outbox (key, topic, sequence, event_id, occurred_at, payload)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[], $6::text[])",
    )
    .bind(column(events, |event| event.key.as_str()))
    .bind(column(events, |event| event.topic.as_str()))
    .bind(column(events, |event| event.sequence))
    .bind(column(events, |event| event.event_id.uuid()))
    .bind(column(events, |event| event.occurred_at.as_micros()))
    .bind(column(events, |event| event.payload.as_str()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing the outbox"))
}

/// Marks rows as published.
///
/// # Errors
/// When the database refuses.
pub(super) async fn mark_published(
    connection: &mut PgConnection,
    positions: &[i64],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("update outbox set published_at = $2 where position = any($1)")
        .bind(positions)
        .bind(now.as_micros())
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::database("marking events as published"))
}
