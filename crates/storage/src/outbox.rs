//! The outbox: an event is a row in the transaction that made it true, and a relay publishes it afterwards. Nothing is
//! published that did not commit, and nothing commits unpublished for ever.

use std::{sync::Arc, time::Duration};

use spillway_types::Timestamp;
use sqlx::{Row, SqliteConnection, SqlitePool};
use tokio_util::sync::CancellationToken;

use crate::{
    Committer, Rules, StoreError,
    bus::{Bus, Event},
    sqlite,
};

/// Events in one publication: enough to amortise a consumer's commit, small enough to keep its latency low.
const BATCH_MAX: i64 = 512;
/// How long the relay sleeps when nobody wakes it; only rows that a crash left behind wait for this.
const POLL: Duration = Duration::from_secs(1);
/// Pause between two publications: what commits meanwhile goes with the next, which costs a busy service a good deal less
/// than a publication a commit, and nobody an event that is noticeably later.
const PACE: Duration = Duration::from_millis(10);
/// First pause after a consumer could not take a batch; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two offers of the same batch.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Writes the events of a batch, in the transaction of what caused them.
///
/// # Errors
/// When the database refuses.
pub async fn save(connection: &mut SqliteConnection, events: &[Event]) -> Result<(), StoreError> {
    let rows = events.iter().map(|event| {
        (event.event_id, &event.topic, &event.key, event.sequence, event.occurred_at.as_micros(), &event.payload)
    });
    let sql = "insert into outbox (event_id, topic, key, sequence, occurred_at, payload)
               select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 from json_each(?1)";
    sqlite::write(connection, "writing the outbox", sql, rows).await
}

/// Marks rows as published.
///
/// # Errors
/// When the database refuses.
pub async fn mark_published(
    connection: &mut SqliteConnection,
    positions: &[i64],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("update outbox set published_at = ?2 where position in (select value from json_each(?1))")
        .bind(sqlite::json(positions)?)
        .bind(now.as_micros())
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::database("marking events as published"))
}

/// Publishes one service's events until told to stop.
#[derive(Debug)]
pub struct Relay<R: Rules> {
    readers: SqlitePool,
    committer: Committer<R>,
    /// Highest position handed to the writer for marking. Rows up to here may still look unpublished for a moment; one
    /// writer assigns positions in commit order, so nothing can appear below it later.
    handed_over: i64,
}

// === impl Relay ===

impl<R: Rules> Relay<R> {
    /// A relay over a service's database; marks travel with the committer's next transaction.
    pub const fn new(readers: SqlitePool, committer: Committer<R>) -> Self {
        Self { readers, committer, handed_over: 0 }
    }

    /// Runs until `stop`. Each event is offered until every consumer has taken it.
    pub async fn run(mut self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let mut pause = BACKOFF_MIN;
        while !stop.is_cancelled() {
            match self.publish_batch(&bus).await {
                Ok(0) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.committer.committed() => {}
                    () = tokio::time::sleep(POLL) => {}
                },
                Ok(_) => {
                    pause = BACKOFF_MIN;
                    tokio::time::sleep(PACE).await;
                }
                Err(problem) => {
                    tracing::warn!(problem, retry_in = ?pause, "events not published; they stay in the outbox");
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    async fn publish_batch(&mut self, bus: &Arc<dyn Bus>) -> Result<usize, String> {
        let (positions, events) = self.unpublished().await.map_err(|error| error.to_string())?;
        let Some(last) = positions.last().copied() else {
            return Ok(0);
        };
        bus.publish(&events).await.map_err(|error| error.to_string())?;
        let count = positions.len();
        self.committer.mark_published(positions).await.map_err(|error| error.to_string())?;
        self.handed_over = last;
        Ok(count)
    }

    async fn unpublished(&self) -> Result<(Vec<i64>, Vec<Event>), StoreError> {
        let rows = sqlx::query(
            "select position, event_id, topic, key, sequence, occurred_at, payload
               from outbox
              where published_at is null and position > ?1
              order by position limit ?2",
        )
        .bind(self.handed_over)
        .bind(BATCH_MAX)
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::database("reading the outbox"))?;
        let mut positions = Vec::with_capacity(rows.len());
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let event_id: String = row.get(1);
            positions.push(row.get(0));
            events.push(Event {
                event_id: event_id.parse().map_err(StoreError::corrupt)?,
                topic: row.get(2),
                key: row.get(3),
                sequence: row.get(4),
                occurred_at: Timestamp::from_micros(row.get(5)),
                payload: row.get(6),
            });
        }
        Ok((positions, events))
    }
}
