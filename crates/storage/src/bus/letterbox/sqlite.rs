//! The letterbox in a SQLite file.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use spillway_types::{EventId, Timestamp};
use sqlx::{AssertSqlSafe, Row, sqlite::SqliteRow};

use super::{DeadLetter, Letter, LetterCount, LetterState, Letterbox, PageEnd, Standing};
use crate::{
    StoreError,
    bus::{Event, Lane},
    spare::SqliteSpare,
    sqlite::{Database, json},
};

/// Columns of a letter, as [`letter`] reads them.
const COLUMNS: &str = "event_id, topic, key, sequence, occurred_at, payload, state, attempts, last_error";

/// A connection of its own: what it writes is rare, and need not travel with the writer's batches.
#[derive(Debug)]
pub(super) struct SqliteLetterbox {
    spare: SqliteSpare,
}

// === impl SqliteLetterbox ===

impl SqliteLetterbox {
    pub(super) fn new(database: &Database) -> Self {
        Self { spare: SqliteSpare::new(database) }
    }
}

#[async_trait]
impl Letterbox for SqliteLetterbox {
    async fn standings(&self, consumer: &str, lanes: &BTreeSet<Lane>) -> Result<BTreeMap<Lane, Standing>, StoreError> {
        // One statement is one moment: a cursor that has passed a letter is never seen without the letter.
        let query = sqlx::query(
            "select l.value ->> 0, l.value ->> 1, coalesce(c.sequence, 0),
                    exists (select 1 from dead_letter d
                             where d.key = l.value ->> 1 and d.topic = l.value ->> 0 and d.consumer = ?2)
               from json_each(?1) l
               left join event_cursor c on c.key = l.value ->> 1 and c.topic = l.value ->> 0 and c.consumer = ?2",
        )
        .bind(json(lanes.iter().map(|lane| (&lane.topic, &lane.key)))?)
        .bind(consumer);
        let standing = |row: SqliteRow| {
            let lane = Lane { topic: row.get(0), key: row.get(1) };
            (lane, Standing { taken: row.get(2), is_blocked: row.get(3) })
        };
        let rows = self.spare.fetch("reading how far events are taken", query).await?;
        Ok(rows.into_iter().map(standing).collect())
    }

    async fn advance(&self, consumer: &str, taken: &BTreeMap<Lane, i64>) -> Result<(), StoreError> {
        let query = sqlx::query(
            "insert into event_cursor (key, topic, consumer, sequence)
             select value ->> 1, value ->> 0, ?2, value ->> 2 from json_each(?1) where true
                 on conflict (key, topic, consumer) do update
                set sequence = max(sequence, excluded.sequence)",
        )
        .bind(json(taken.iter().map(|(lane, sequence)| (&lane.topic, &lane.key, sequence)))?)
        .bind(consumer);
        self.spare.execute("noting how far events are taken", vec![query]).await.map(drop)
    }

    async fn put_aside(&self, consumer: &str, letters: &[Letter]) -> Result<(), StoreError> {
        let rows = letters.iter().map(|Letter { event, state, attempts, last_error }| {
            let Event { event_id, topic, key, sequence, occurred_at, payload } = event;
            let about = (event_id, topic, key, sequence, occurred_at.as_micros(), payload);
            (about, state.as_str(), attempts, last_error)
        });
        let rows = json(rows)?;
        let put_aside = sqlx::query(AssertSqlSafe(format!(
            "insert into dead_letter ({COLUMNS}, consumer, put_aside_at)
             select value ->> '$[0][0]', value ->> '$[0][1]', value ->> '$[0][2]', value ->> '$[0][3]',
                    value ->> '$[0][4]', value ->> '$[0][5]', value ->> 1, value ->> 2, value ->> 3,
                    ?2, cast(unixepoch('subsec') * 1000000 as integer)
               from json_each(?1) where true
                 on conflict (key, topic, consumer, sequence) do update
                set state = excluded.state, last_error = excluded.last_error, attempts = attempts + excluded.attempts
              where excluded.state = 'DEAD'"
        )))
        .bind(rows.clone())
        .bind(consumer);
        let advance = sqlx::query(
            "insert into event_cursor (key, topic, consumer, sequence)
             select value ->> '$[0][2]', value ->> '$[0][1]', ?2, max(value ->> '$[0][3]')
               from json_each(?1) where true group by 1, 2
                 on conflict (key, topic, consumer) do update
                set sequence = max(sequence, excluded.sequence)",
        )
        .bind(rows)
        .bind(consumer);
        self.spare.execute("putting events aside", vec![put_aside, advance]).await.map(drop)
    }

    async fn due(&self, consumer: &str, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(format!(
            "select {COLUMNS} from dead_letter l
              where consumer = ?1
                and not exists (select 1 from dead_letter d
                                 where d.key = l.key and d.topic = l.topic and d.consumer = ?1
                                   and d.sequence <= l.sequence and d.state = 'DEAD')
              order by key, topic, sequence limit ?2"
        )))
        .bind(consumer)
        .bind(limit);
        self.spare.fetch("looking for letters to offer again", query).await?.iter().map(letter).collect()
    }

    async fn list(&self, consumer: &str, after: Option<&PageEnd>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(format!(
            "select {COLUMNS}, consumer, put_aside_at from dead_letter
              where state <> 'HELD' and (?1 = '' or consumer = ?1)
                and (?2 is null or (put_aside_at, event_id, consumer) > (?2, ?3, ?4))
              order by put_aside_at, event_id, consumer limit ?5"
        )))
        .bind(consumer)
        .bind(after.map(|end| end.put_aside_at.as_micros()))
        .bind(after.map(|end| end.event_id.to_string()))
        .bind(after.map(|end| end.consumer.as_str()))
        .bind(limit);
        let rows = self.spare.fetch("listing dead letters", query).await?;
        let dead_letter = |row: &SqliteRow| {
            let put_aside_at = Timestamp::from_micros(row.get(10));
            Ok(DeadLetter { consumer: row.get(9), letter: letter(row)?, put_aside_at })
        };
        rows.iter().map(dead_letter).collect()
    }

    async fn replay(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "update dead_letter set state = 'REPLAY'
              where consumer = ?1 and state = 'DEAD' and (?2 = '[]' or event_id in (select value from json_each(?2)))",
        )
        .bind(consumer)
        .bind(json(events)?);
        self.spare.execute("marking dead letters for replay", vec![query]).await
    }

    async fn remove(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError> {
        let sql = "delete from dead_letter where consumer = ?1 and event_id in (select value from json_each(?2))";
        let query = sqlx::query(sql).bind(consumer).bind(json(events)?);
        self.spare.execute("removing letters", vec![query]).await
    }

    async fn count(&self) -> Result<LetterCount, StoreError> {
        let query = sqlx::query("select count(*) filter (where state <> 'HELD'), count(*) from dead_letter");
        let rows = self.spare.fetch("counting letters", query).await?;
        let row = rows.first().ok_or_else(|| StoreError::corrupt("no count"))?;
        let (dead, all): (i64, i64) = (row.get(0), row.get(1));
        Ok(LetterCount { dead: dead.unsigned_abs(), held: (all - dead).unsigned_abs() })
    }
}

fn letter(row: &SqliteRow) -> Result<Letter, StoreError> {
    let (event_id, state): (&str, &str) = (row.get(0), row.get(6));
    let event = Event {
        event_id: event_id.parse().map_err(StoreError::corrupt)?,
        topic: row.get(1),
        key: row.get(2),
        sequence: row.get(3),
        occurred_at: Timestamp::from_micros(row.get(4)),
        payload: row.get(5),
    };
    Ok(Letter { event, state: LetterState::parse(state)?, attempts: row.get(7), last_error: row.get(8) })
}
