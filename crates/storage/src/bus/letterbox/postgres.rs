//! The letterbox in Postgres.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use spillway_types::{EventId, Timestamp};
use sqlx::{AssertSqlSafe, Row, postgres::PgRow};

use super::{DeadLetter, Letter, LetterCount, LetterState, Letterbox, PageEnd, Standing};
use crate::{
    StoreError,
    bus::{Event, Lane},
    postgres::{Database, NOW, column},
    spare::PgSpare,
};

/// Columns of a letter, as [`letter`] reads them.
const COLUMNS: &str = "event_id, topic, key, sequence, occurred_at, payload, state, attempts, last_error";

/// A connection of its own: consumers go on while readers are short of theirs.
#[derive(Debug)]
pub(super) struct PgLetterbox {
    spare: PgSpare,
}

// === impl PgLetterbox ===

impl PgLetterbox {
    pub(super) fn new(database: Database) -> Self {
        Self { spare: PgSpare::new(database, "letterbox", "") }
    }
}

#[async_trait]
impl Letterbox for PgLetterbox {
    async fn standings(&self, consumer: &str, lanes: &BTreeSet<Lane>) -> Result<BTreeMap<Lane, Standing>, StoreError> {
        // One statement is one moment: a cursor that has passed a letter is never seen without the letter.
        let query = sqlx::query(
            "select l.topic, l.key, coalesce(c.sequence, 0),
                    exists (select from dead_letter d where d.key = l.key and d.topic = l.topic and d.consumer = $3)
               from unnest($1::text[], $2::text[]) l (topic, key)
               left join event_cursor c on c.key = l.key and c.topic = l.topic and c.consumer = $3",
        )
        .bind(column(lanes, |lane| lane.topic.as_str()))
        .bind(column(lanes, |lane| lane.key.as_str()))
        .bind(consumer);
        let standing = |row: PgRow| {
            let lane = Lane { topic: row.get(0), key: row.get(1) };
            (lane, Standing { taken: row.get(2), is_blocked: row.get(3) })
        };
        let rows = self.spare.fetch("reading how far events are taken", query).await?;
        Ok(rows.into_iter().map(standing).collect())
    }

    async fn advance(&self, consumer: &str, taken: &BTreeMap<Lane, i64>) -> Result<(), StoreError> {
        // Replicas may note the same lane, in whichever order: the higher number is right.
        let query = sqlx::query(
            "insert into event_cursor (key, topic, consumer, sequence)
             select key, topic, $4, sequence
               from unnest($1::text[], $2::text[], $3::bigint[]) r (topic, key, sequence)
              order by key, topic
                 on conflict (key, topic, consumer) do update
                set sequence = excluded.sequence
              where event_cursor.sequence < excluded.sequence",
        )
        .bind(column(taken.keys(), |lane| lane.topic.as_str()))
        .bind(column(taken.keys(), |lane| lane.key.as_str()))
        .bind(column(taken.values(), |sequence| *sequence))
        .bind(consumer);
        self.spare.execute("noting how far events are taken", query).await.map(drop)
    }

    async fn put_aside(&self, consumer: &str, letters: &[Letter]) -> Result<(), StoreError> {
        // Both tables in one statement, which is one transaction.
        let query = sqlx::query(AssertSqlSafe(format!(
            "with letter as (
                 select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                                      $7::text[], $8::bigint[], $9::text[])
                     as r (event_id, topic, key, sequence, occurred_at, payload, state, attempts, last_error)
             ), put_aside as (
                 insert into dead_letter (consumer, {COLUMNS}, put_aside_at)
                 select $10, {COLUMNS}, {NOW} from letter order by key, topic, sequence
                     on conflict (key, topic, consumer, sequence) do update
                    set state = excluded.state, last_error = excluded.last_error,
                        attempts = dead_letter.attempts + excluded.attempts
                  where excluded.state = 'DEAD'
             )
             insert into event_cursor (key, topic, consumer, sequence)
             select key, topic, $10, max(sequence) from letter group by key, topic order by key, topic
                 on conflict (key, topic, consumer) do update
                set sequence = excluded.sequence
              where event_cursor.sequence < excluded.sequence"
        )))
        .bind(column(letters, |letter| letter.event.event_id.uuid()))
        .bind(column(letters, |letter| letter.event.topic.as_str()))
        .bind(column(letters, |letter| letter.event.key.as_str()))
        .bind(column(letters, |letter| letter.event.sequence))
        .bind(column(letters, |letter| letter.event.occurred_at.as_micros()))
        .bind(column(letters, |letter| letter.event.payload.as_str()))
        .bind(column(letters, |letter| letter.state.as_str()))
        .bind(column(letters, |letter| i64::from(letter.attempts)))
        .bind(column(letters, |letter| letter.last_error.as_str()))
        .bind(consumer);
        self.spare.execute("putting events aside", query).await.map(drop)
    }

    async fn due(&self, consumer: &str, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(format!(
            "select {COLUMNS} from dead_letter l
              where consumer = $1
                and not exists (select from dead_letter d
                                 where d.key = l.key and d.topic = l.topic and d.consumer = $1
                                   and d.sequence <= l.sequence and d.state = 'DEAD')
              order by key, topic, sequence limit $2"
        )))
        .bind(consumer)
        .bind(i64::from(limit));
        self.spare.fetch("looking for letters to offer again", query).await?.iter().map(letter).collect()
    }

    async fn list(&self, consumer: &str, after: Option<&PageEnd>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let query = sqlx::query(AssertSqlSafe(format!(
            "select {COLUMNS}, consumer, put_aside_at from dead_letter
              where state <> 'HELD' and ($1 = '' or consumer = $1)
                and ($2::bigint is null or (put_aside_at, event_id, consumer) > ($2, $3, $4))
              order by put_aside_at, event_id, consumer limit $5"
        )))
        .bind(consumer)
        .bind(after.map(|end| end.put_aside_at.as_micros()))
        .bind(after.map(|end| end.event_id.uuid()))
        .bind(after.map(|end| end.consumer.as_str()))
        .bind(i64::from(limit));
        let rows = self.spare.fetch("listing dead letters", query).await?;
        let dead_letter = |row: &PgRow| {
            let put_aside_at = Timestamp::from_micros(row.get(10));
            Ok(DeadLetter { consumer: row.get(9), letter: letter(row)?, put_aside_at })
        };
        rows.iter().map(dead_letter).collect()
    }

    async fn replay(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "update dead_letter set state = 'REPLAY'
              where consumer = $1 and state = 'DEAD' and (cardinality($2::uuid[]) = 0 or event_id = any($2))",
        )
        .bind(consumer)
        .bind(column(events, |event| event.uuid()));
        self.spare.execute("marking dead letters for replay", query).await
    }

    async fn remove(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError> {
        let query = sqlx::query("delete from dead_letter where consumer = $1 and event_id = any($2)")
            .bind(consumer)
            .bind(column(events, |event| event.uuid()));
        self.spare.execute("removing letters", query).await
    }

    async fn count(&self) -> Result<LetterCount, StoreError> {
        let query = sqlx::query("select count(*) filter (where state <> 'HELD'), count(*) from dead_letter");
        let rows = self.spare.fetch("counting letters", query).await?;
        let row = rows.first().ok_or_else(|| StoreError::corrupt("no count"))?;
        let (dead, all): (i64, i64) = (row.get(0), row.get(1));
        Ok(LetterCount { dead: dead.unsigned_abs(), held: (all - dead).unsigned_abs() })
    }
}

fn letter(row: &PgRow) -> Result<Letter, StoreError> {
    let (state, attempts): (&str, i64) = (row.get(6), row.get(7));
    let event = Event {
        event_id: EventId::new(row.get(0)),
        topic: row.get(1),
        key: row.get(2),
        sequence: row.get(3),
        occurred_at: Timestamp::from_micros(row.get(4)),
        payload: row.get(5),
    };
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    Ok(Letter { event, state: LetterState::parse(state)?, attempts, last_error: row.get(8) })
}
