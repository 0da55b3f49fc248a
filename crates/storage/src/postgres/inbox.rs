//! The inbox in Postgres.

use std::collections::BTreeSet;

use spillway_types::{EventId, Timestamp};
use sqlx::{PgConnection, Row};

use super::column;
use crate::{StoreError, Tracked, inbox::Taken};

/// Reads which of `events` a consumer has taken already.
///
/// # Errors
/// When the database does not answer.
pub async fn load(connection: &mut PgConnection, events: BTreeSet<(String, EventId)>) -> Result<Taken, StoreError> {
    if events.is_empty() {
        return Ok(Taken::default());
    }
    let rows = sqlx::query(
        "select i.consumer, i.event_id, i.taken_at
           from inbox i
           join unnest($1::uuid[], $2::text[]) k (event_id, consumer)
             on i.event_id = k.event_id and i.consumer = k.consumer",
    )
    .bind(column(&events, |(_, event)| event.uuid()))
    .bind(column(&events, |(consumer, _)| consumer.as_str()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading the inbox"))?;
    let taken =
        |row: &sqlx::postgres::PgRow| ((row.get(0), EventId::new(row.get(1))), Timestamp::from_micros(row.get(2)));
    Ok(Tracked::loaded(rows.iter().map(taken)))
}

/// Notes the events that this batch takes.
///
/// # Errors
/// When the database refuses, or another replica has taken one of them meanwhile.
pub async fn save(connection: &mut PgConnection, taken: &Taken) -> Result<(), StoreError> {
    let mut rows: Vec<_> = taken.inserted().collect();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|((consumer, event), _)| (*event, consumer));
    sqlx::query(
        "insert into inbox (event_id, consumer, taken_at) select * from unnest($1::uuid[], $2::text[], $3::bigint[])",
    )
    .bind(column(&rows, |((_, event), _)| event.uuid()))
    .bind(column(&rows, |((consumer, _), _)| consumer.as_str()))
    .bind(column(&rows, |(_, at)| at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing the inbox"))
}
