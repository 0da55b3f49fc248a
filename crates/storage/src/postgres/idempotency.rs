//! Idempotency records in Postgres.

use spillway_types::{Fingerprint, RequestId, Timestamp};
use sqlx::{PgConnection, Row};

use super::column;
use crate::{
    StoreError, Tracked,
    idempotency::{FORGET_MAX, KEPT_MICROS, Key, Record, Records},
};

/// Reads the records of `keys`, and locks them.
///
/// # Errors
/// When the database does not answer.
pub async fn load(connection: &mut PgConnection, keys: Vec<Key>) -> Result<Records, StoreError> {
    if keys.is_empty() {
        return Ok(Records::default());
    }
    let rows = sqlx::query(
        "select r.scope, r.request_id, r.fingerprint, r.answer, r.created_at
           from idempotency r
           join unnest($1::uuid[], $2::text[]) k (request_id, scope)
             on r.request_id = k.request_id and r.scope = k.scope
          order by r.request_id, r.scope
            for update of r",
    )
    .bind(column(&keys, |key| key.request_id.uuid()))
    .bind(column(&keys, |key| key.scope.as_str()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading idempotency records"))?;
    Ok(Tracked::loaded(rows.iter().map(|row| {
        let record = Record {
            fingerprint: Fingerprint::stored(row.get(2)),
            answer: row.get(3),
            created_at: Timestamp::from_micros(row.get(4)),
        };
        (Key { scope: row.get(0), request_id: RequestId::new(row.get(1)) }, record)
    })))
}

/// Writes the new records of a batch.
///
/// # Errors
/// When the database refuses, or another writer has written one of them meanwhile.
pub async fn save(connection: &mut PgConnection, records: &Records) -> Result<(), StoreError> {
    let mut rows: Vec<_> = records.inserted().collect();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|(key, _)| (key.request_id, &key.scope));
    sqlx::query(
        "insert into idempotency (request_id, scope, fingerprint, answer, created_at)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[])",
    )
    .bind(column(&rows, |(key, _)| key.request_id.uuid()))
    .bind(column(&rows, |(key, _)| key.scope.as_str()))
    .bind(column(&rows, |(_, record)| record.fingerprint.as_str()))
    .bind(column(&rows, |(_, record)| record.answer.as_str()))
    .bind(column(&rows, |(_, record)| record.created_at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing idempotency records"))
}

/// Deletes some of the records that are older than they are kept. Replicas do not wait for each other.
///
/// # Errors
/// When the database refuses.
pub(super) async fn forget(connection: &mut PgConnection, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "delete from idempotency
          where (request_id, scope) in (
              select request_id, scope from idempotency where created_at < $1 limit $2 for update skip locked)",
    )
    .bind(now.as_micros() - KEPT_MICROS)
    .bind(FORGET_MAX)
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("deleting old idempotency records"))
}
