//! The outbox: an event is a row in the transaction that made it true, and a relay publishes it afterwards. Nothing is
//! published that did not commit, and nothing commits unpublished for ever.
//!
//! | module | holds |
//! |---|---|
//! | [`Relay`] | the loop that claims, publishes and marks |
//! | `sqlite` | one writer and one relay: positions are given in commit order |
//! | `postgres` | any number of both: rows are claimed one by one, whatever order they commit in |

use std::{fmt, ops::RangeInclusive, sync::Arc};

use async_trait::async_trait;
use spillway_types::Timestamp;
use sqlx::SqliteConnection;

use crate::{
    StoreError,
    bus::{Event, Lane},
    database::Database,
};

mod postgres;
mod relay;
mod sqlite;

pub use self::relay::Relay;

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
    crate::sqlite::write(connection, "writing the outbox", sql, rows).await
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
        .bind(crate::sqlite::json(positions)?)
        .bind(now.as_micros())
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::database("marking events as published"))
}

/// Unpublished events that one relay has to itself for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The rows, in the order of `events`.
    pub positions: Vec<i64>,
    /// The events; those of one lane in order, and none while a lower one of its lane is unpublished and not among them.
    pub events: Vec<Event>,
    /// What tells this claim of a row from every other one: until when it holds, or which restart it came after.
    pub until: i64,
}

/// How published rows get their marks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Marking {
    /// This many have theirs. Rows that have not are published again.
    Done(u64),
    /// The one writer has to mark these with its next transaction.
    ByWriter(Vec<i64>),
}

/// A topic that this outbox publishes, and how much of it is known to have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The topic.
    pub topic: String,
    /// The bus's data in which the rest was measured; empty at first.
    pub history: String,
    /// Every consumer has what was published before.
    pub watermark: Timestamp,
}

/// What waits to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events.
    pub unpublished: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
}

/// The relay's side of an outbox.
#[async_trait]
pub trait Outbox: Send + Sync + fmt::Debug + 'static {
    /// Takes unpublished events that no other relay has. They are free again after some seconds.
    async fn claim(&self) -> Result<Claim, StoreError>;

    /// Marks what was published, as far as the claim still stands and the topic's stream is still of `history`.
    async fn mark(&self, claim: &Claim, history: &str) -> Result<Marking, StoreError>;

    /// Gives back what could not be published.
    async fn release(&self, claim: &Claim) -> Result<(), StoreError>;

    /// Committed events of a lane, published or not, in order.
    async fn read(&self, lane: &Lane, sequences: RangeInclusive<i64>) -> Result<Vec<Event>, StoreError>;

    /// Notes that a topic is published from here; nothing if that is known.
    async fn enrol(&self, topic: &str) -> Result<(), StoreError>;

    /// The topics that are published from here.
    async fn streams(&self) -> Result<Vec<Stream>, StoreError>;

    /// The bus has other data than `stream` was measured in, and may have lost some: all that was published since the
    /// watermark is unpublished again, and claims end. Nothing if another relay was first.
    async fn restart(&self, stream: &Stream, history: &str) -> Result<(), StoreError>;

    /// Moves a stream's watermark on, if it is still of the same history.
    async fn advance(&self, stream: &Stream, watermark: Timestamp) -> Result<(), StoreError>;

    /// The clock that marks rows.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// What waits to be published.
    async fn backlog(&self) -> Result<Backlog, StoreError>;
}

/// The outbox of a service.
pub(crate) fn of(database: &Database) -> Arc<dyn Outbox> {
    match database {
        Database::Sqlite(database) => Arc::new(sqlite::SqliteOutbox::new(database)),
        Database::Postgres(database) => Arc::new(postgres::PgOutbox::new(database.clone())),
    }
}
