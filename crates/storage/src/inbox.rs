//! The inbox: a consumer takes each event once, because it notes the event's id in the transaction of the effect.

use std::collections::BTreeSet;

use spillway_types::{EventId, Timestamp};
use sqlx::{Row, SqliteConnection};

use crate::{StoreError, Tracked, sqlite};

/// Which events were taken, and when; by consumer and event.
pub type Taken = Tracked<(String, EventId), Timestamp>;

/// Reads which of `events` a consumer has taken already.
///
/// # Errors
/// When the database does not answer.
pub async fn load(connection: &mut SqliteConnection, events: BTreeSet<(String, EventId)>) -> Result<Taken, StoreError> {
    if events.is_empty() {
        return Ok(Taken::default());
    }
    let rows = sqlx::query(
        "select i.consumer, i.event_id, i.taken_at
           from json_each(?1) k
           join inbox i on i.consumer = k.value ->> 0 and i.event_id = k.value ->> 1",
    )
    .bind(sqlite::json(events)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading the inbox"))?;
    let taken = rows.into_iter().map(|row| {
        let event: String = row.get(1);
        Ok(((row.get(0), event.parse().map_err(StoreError::corrupt)?), Timestamp::from_micros(row.get(2))))
    });
    Ok(Tracked::loaded(taken.collect::<Result<Vec<_>, StoreError>>()?))
}

/// Notes the events that this batch takes.
///
/// # Errors
/// When the database refuses.
pub async fn save(connection: &mut SqliteConnection, taken: &Taken) -> Result<(), StoreError> {
    let rows = taken.inserted().map(|((consumer, event), at)| (consumer, event, at.as_micros()));
    let sql = "insert into inbox (consumer, event_id, taken_at)
               select value ->> 0, value ->> 1, value ->> 2 from json_each(?1)";
    sqlite::write(connection, "writing the inbox", sql, rows).await
}
