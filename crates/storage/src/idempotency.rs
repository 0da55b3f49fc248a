//! Idempotency records: the same key and command give the same answer, the same key with another command is refused.
//!
//! Calls of the saga need no record of their own: their domain row carries fingerprint and outcome. Every other
//! mutating call writes a [`Record`] in the transaction of its effect.

use serde::{Serialize, de::DeserializeOwned};
use spillway_types::{Fault, Fingerprint, RequestId, Timestamp};
use sqlx::{Row, SqliteConnection};

use crate::{StoreError, Tracked, sqlite};

/// How long an answer is kept: longer than anybody goes on repeating a request, in microseconds.
pub(crate) const KEPT_MICROS: i64 = 30 * 24 * 60 * 60 * 1_000_000;
/// Most records that one transaction deletes, so that it stays short.
pub(crate) const FORGET_MAX: i64 = 10_000;

/// Whose key it is: keys of different callers and methods never meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Method and, where there is one, buyer or caller.
    pub scope: String,
    /// The caller's key.
    pub request_id: RequestId,
}

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// What was answered, as JSON.
    pub answer: String,
    /// When.
    pub created_at: Timestamp,
}

/// The records that a batch touches.
pub type Records = Tracked<Key, Record>;

/// The stored answer to this key, if there is one.
///
/// # Errors
/// `REQUEST_ID_REUSED` when the key came with another command; an internal fault when the record is not readable.
pub fn replay<A: DeserializeOwned>(
    records: &Records,
    key: &Key,
    fingerprint: &Fingerprint,
) -> Result<Option<A>, Fault> {
    let Some(record) = records.get(key) else {
        return Ok(None);
    };
    if record.fingerprint != *fingerprint {
        return Err(Fault::request_id_reused(key.request_id));
    }
    serde_json::from_str(&record.answer).map(Some).map_err(|error| {
        tracing::error!(%error, scope = key.scope, "idempotency record is not readable");
        Fault::internal()
    })
}

/// Remembers an answer, to be saved with the effect.
pub fn remember<A: Serialize>(records: &mut Records, key: Key, fingerprint: Fingerprint, answer: &A, now: Timestamp) {
    let answer = serde_json::to_string(answer).unwrap_or_default();
    records.put(key, Record { fingerprint, answer, created_at: now });
}

/// Reads the records of `keys`.
///
/// # Errors
/// When the database does not answer or a record is not readable.
pub async fn load(connection: &mut SqliteConnection, keys: Vec<Key>) -> Result<Records, StoreError> {
    if keys.is_empty() {
        return Ok(Records::default());
    }
    let wanted = sqlite::json(keys.iter().map(|key| (&key.scope, key.request_id)))?;
    let rows = sqlx::query(
        "select r.scope, r.request_id, r.fingerprint, r.answer, r.created_at
           from json_each(?1) k
           join idempotency r on r.scope = k.value ->> 0 and r.request_id = k.value ->> 1",
    )
    .bind(wanted)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading idempotency records"))?;
    let records = rows.into_iter().map(|row| {
        let request_id: String = row.get(1);
        let request_id = request_id.parse().map_err(StoreError::corrupt)?;
        let record = Record {
            fingerprint: Fingerprint::stored(row.get(2)),
            answer: row.get(3),
            created_at: Timestamp::from_micros(row.get(4)),
        };
        Ok((Key { scope: row.get(0), request_id }, record))
    });
    Ok(Tracked::loaded(records.collect::<Result<Vec<_>, StoreError>>()?))
}

/// Writes the new records of a batch.
///
/// # Errors
/// When the database refuses.
pub async fn save(connection: &mut SqliteConnection, records: &Records) -> Result<(), StoreError> {
    let rows = records.inserted().map(|(key, record)| {
        (&key.scope, key.request_id, record.fingerprint.as_str(), &record.answer, record.created_at.as_micros())
    });
    let sql = "insert into idempotency (scope, request_id, fingerprint, answer, created_at)
               select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each(?1)";
    sqlite::write(connection, "writing idempotency records", sql, rows).await
}

/// Deletes some of the records that are older than they are kept.
///
/// # Errors
/// When the database refuses.
pub async fn forget(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "delete from idempotency
          where (scope, request_id) in (select scope, request_id from idempotency where created_at < ?1 limit ?2)",
    )
    .bind(now.as_micros() - KEPT_MICROS)
    .bind(FORGET_MAX)
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("deleting old idempotency records"))
}
