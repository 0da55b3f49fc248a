//! Idempotency: the same key and command give the same answer, the same key with another command is refused.
//!
//! Calls of the saga need no record of their own: their domain row carries fingerprint and outcome. Every other
//! mutating call writes a [`Record`] in the transaction of its effect.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use spillway_types::{Fault, RequestId, Timestamp};
use sqlx::{Row, SqliteConnection};

use crate::{StoreError, Tracked, sqlite};

/// The version of the normal form that [`Fingerprint::of`] hashes. A record is compared under the version it was
/// written with; raise this when a command's serialised form changes.
const VERSION: u8 = 1;

/// What a command said, in 33 bytes: version, then SHA-256 of its normal form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

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

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of a command. The command is the parsed one, so that wire encoding, field order and unknown
    /// fields do not matter.
    pub fn of(command: &impl Serialize) -> Self {
        let normal = serde_json::to_vec(command).unwrap_or_default();
        let digest = Sha256::digest(&normal);
        let hex = digest.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
        Self(format!("{VERSION}:{hex}"))
    }

    /// A fingerprint as it was stored.
    pub const fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The stored answer to this key, if there is one.
///
/// # Errors
/// `REQUEST_ID_REUSED` when the key came with another command; an internal fault when the record is not readable.
pub fn replay<A: DeserializeOwned>(records: &Records, key: &Key, fingerprint: &Fingerprint) -> Result<Option<A>, Fault> {
    let Some(record) = records.get(key) else { return Ok(None) };
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
