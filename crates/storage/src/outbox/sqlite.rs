//! The relay's side of the outbox in a SQLite file.
//!
//! One writer gives positions in commit order, so the relay may go by them, and its marks travel with the writer's next
//! transaction, which spares the disk one. There is one relay, in the writer's process.

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use spillway_types::{Clock, SystemClock, Timestamp};
use sqlx::{AssertSqlSafe, Row, SqlitePool, sqlite::SqliteRow};
use tokio::sync::Mutex;

use super::{Backlog, Claim, Marking, Outbox, Stream};
use crate::{
    StoreError,
    bus::{Event, Lane},
    spare::SqliteSpare,
    sqlite::Database,
};

/// Events in one publication: enough to amortise a consumer's commit, small enough to keep its latency low.
const BATCH_MAX: i64 = 512;
/// Pause between two looks for marks that the writer has not made yet.
const MARKS_POLL: Duration = Duration::from_millis(20);
/// How long the writer may take to make its marks; it takes a tenth of a second when it has nothing else to do.
const MARKS_WAIT: Duration = Duration::from_secs(5);
/// Columns of an event, as [`event`] reads them.
const COLUMNS: &str = "event_id, topic, key, sequence, occurred_at, payload";

/// An outbox.
#[derive(Debug)]
pub(super) struct SqliteOutbox {
    readers: SqlitePool,
    spare: SqliteSpare,
    /// Highest position handed to the writer for marking. Rows up to here may still look unpublished for a moment; one
    /// writer assigns positions in commit order, so nothing can appear below it later.
    handed_over: AtomicI64,
    /// Goes up when a stream is restarted: what was claimed before is published again.
    generation: AtomicI64,
    /// Held while marks are handed over or a stream is restarted, so that no mark overtakes a restart.
    marking: Mutex<()>,
}

// === impl SqliteOutbox ===

impl SqliteOutbox {
    pub(super) fn new(database: &Database) -> Self {
        Self {
            readers: database.readers().clone(),
            spare: SqliteSpare::new(database),
            handed_over: AtomicI64::new(0),
            generation: AtomicI64::new(0),
            marking: Mutex::default(),
        }
    }

    /// Waits until the writer has made every mark that it was asked for.
    async fn marked(&self) -> Result<(), StoreError> {
        let doing = "waiting for marks";
        let sql = "select count(*) from outbox where published_at is null and position <= ?1";
        let handed_over = self.handed_over.load(Ordering::SeqCst);
        let marked = async {
            loop {
                let open = sqlx::query_scalar::<_, i64>(sql).bind(handed_over).fetch_one(&self.readers).await;
                if open.map_err(StoreError::database(doing))? == 0 {
                    return Ok(());
                }
                tokio::time::sleep(MARKS_POLL).await;
            }
        };
        tokio::time::timeout(MARKS_WAIT, marked).await.unwrap_or_else(|_| {
            Err(StoreError::Database { doing, source: sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()) })
        })
    }
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn claim(&self) -> Result<Claim, StoreError> {
        let until = self.generation.load(Ordering::SeqCst);
        let rows = sqlx::query(AssertSqlSafe(format!(
            "select {COLUMNS}, position from outbox
              where published_at is null and position > ?1
              order by position limit ?2"
        )))
        .bind(self.handed_over.load(Ordering::SeqCst))
        .bind(BATCH_MAX)
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::database("reading the outbox"))?;
        let positions = rows.iter().map(|row| row.get(6)).collect();
        let events = rows.iter().map(event).collect::<Result<_, _>>()?;
        Ok(Claim { positions, events, until })
    }

    async fn mark(&self, claim: &Claim, history: &str) -> Result<Marking, StoreError> {
        let _marking = self.marking.lock().await;
        if claim.until != self.generation.load(Ordering::SeqCst) {
            return Ok(Marking::Done(0));
        }
        if !history.is_empty() {
            let streams = self.streams().await?;
            let is_current =
                |event: &Event| streams.iter().any(|stream| stream.topic == event.topic && stream.history == history);
            if !claim.events.iter().all(is_current) {
                return Ok(Marking::Done(0));
            }
        }
        let last = claim.positions.last().copied().unwrap_or_default();
        self.handed_over.fetch_max(last, Ordering::SeqCst);
        Ok(Marking::ByWriter(claim.positions.clone()))
    }

    async fn release(&self, _: &Claim) -> Result<(), StoreError> {
        Ok(())
    }

    async fn read(&self, lane: &Lane, sequences: RangeInclusive<i64>) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "select {COLUMNS} from outbox
              where key = ?1 and topic = ?2 and sequence between ?3 and ?4 order by sequence limit ?5"
        )))
        .bind(&lane.key)
        .bind(&lane.topic)
        .bind(sequences.start())
        .bind(sequences.end())
        .bind(BATCH_MAX)
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::database("reading events again"))?;
        rows.iter().map(event).collect()
    }

    async fn enrol(&self, topic: &str) -> Result<(), StoreError> {
        let sql = "insert into event_stream (topic, history, watermark) values (?1, '', 0)
                       on conflict (topic) do nothing";
        self.spare.execute("noting a topic", vec![sqlx::query(sql).bind(topic)]).await.map(drop)
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        let rows = sqlx::query("select topic, history, watermark from event_stream order by topic")
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::database("reading topics"))?;
        let stream = |row: &SqliteRow| Stream {
            topic: row.get(0),
            history: row.get(1),
            watermark: Timestamp::from_micros(row.get(2)),
        };
        Ok(rows.iter().map(stream).collect())
    }

    async fn restart(&self, stream: &Stream, history: &str) -> Result<(), StoreError> {
        let _marking = self.marking.lock().await;
        self.marked().await?;
        let unmark = sqlx::query(
            "update outbox set published_at = null
              where topic = ?1 and published_at >= (select watermark from event_stream where topic = ?1 and history = ?2)",
        )
        .bind(&stream.topic)
        .bind(&stream.history);
        let restart = sqlx::query("update event_stream set history = ?3 where topic = ?1 and history = ?2")
            .bind(&stream.topic)
            .bind(&stream.history)
            .bind(history);
        self.spare.execute("publishing events again", vec![unmark, restart]).await?;
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.handed_over.store(0, Ordering::SeqCst);
        Ok(())
    }

    async fn advance(&self, stream: &Stream, watermark: Timestamp) -> Result<(), StoreError> {
        let sql = "update event_stream set watermark = ?3 where topic = ?1 and history = ?2 and watermark < ?3";
        let query = sqlx::query(sql).bind(&stream.topic).bind(&stream.history).bind(watermark.as_micros());
        self.spare.execute("noting what has arrived", vec![query]).await.map(drop)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(SystemClock.now())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let row = sqlx::query("select count(*), min(occurred_at) from outbox where published_at is null")
            .fetch_one(&self.readers)
            .await
            .map_err(StoreError::database("counting unpublished events"))?;
        let (count, oldest): (i64, Option<i64>) = (row.get(0), row.get(1));
        Ok(Backlog { unpublished: count.unsigned_abs(), oldest: oldest.map(Timestamp::from_micros) })
    }
}

fn event(row: &SqliteRow) -> Result<Event, StoreError> {
    let event_id: &str = row.get(0);
    Ok(Event {
        event_id: event_id.parse().map_err(StoreError::corrupt)?,
        topic: row.get(1),
        key: row.get(2),
        sequence: row.get(3),
        occurred_at: Timestamp::from_micros(row.get(4)),
        payload: row.get(5),
    })
}
