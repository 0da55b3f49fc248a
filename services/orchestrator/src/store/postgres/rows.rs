//! A saga as a row of Postgres.

use spillway_saga::SagaRow;
use spillway_storage::{StoreError, postgres::column};
use spillway_types::Timestamp;
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::store::text::{fingerprint, name, named, parsed, stored};

/// Columns of a saga, in the order that [`saga`] reads them.
pub(super) const COLUMNS: &str =
    "id, key, fingerprint, definition, version, input, status, direction, cause, parked, journal, epoch,
                       attempts, drives, created, updated, wakeup";

pub(super) fn saga(row: &PgRow) -> Result<SagaRow, StoreError> {
    let small = |column: usize| u32::try_from(row.get::<i64, _>(column)).map_err(StoreError::corrupt);
    Ok(SagaRow {
        id: spillway_saga::SagaId(row.get(0)),
        key: row.get(1),
        fingerprint: row.get::<String, _>(2).into_bytes(),
        definition: row.get(3),
        version: small(4)?,
        input: row.get(5),
        status: named(row.get(6))?,
        direction: named(row.get(7))?,
        cause: parsed(row.get(8))?,
        parked: parsed(row.get(9))?,
        journal: parsed(row.get(10))?,
        epoch: row.get(11),
        attempts: parsed(row.get(12))?.unwrap_or_default(),
        drives: small(13)?,
        created: Timestamp::from_micros(row.get(14)),
        updated: Timestamp::from_micros(row.get(15)),
        wakeup: row.get::<Option<i64>, _>(16).map(Timestamp::from_micros),
    })
}

/// Writes new rows. The order of their keys is the order in which replicas that start the same ones wait for each other.
pub(super) async fn insert(connection: &mut PgConnection, mut rows: Vec<&SagaRow>) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    let rows = rows.as_slice();
    let sql = "insert into saga (id, key, fingerprint, definition, version, input, status, direction, cause, parked,
                                 journal, epoch, attempts, drives, created, updated, wakeup)
               select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                                    $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[],
                                    $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[])";
    let written = sqlx::query(sql)
        .bind(column(rows, |row| row.id.0))
        .bind(column(rows, |row| row.key.as_str()))
        .bind(each(rows, fingerprint)?)
        .bind(column(rows, |row| row.definition.as_str()))
        .bind(column(rows, |row| i64::from(row.version)))
        .bind(column(rows, |row| row.input.as_str()))
        .bind(each(rows, |row| name(&row.status))?)
        .bind(each(rows, |row| name(&row.direction))?)
        .bind(each(rows, |row| stored(row.cause.as_ref()))?)
        .bind(each(rows, |row| stored(row.parked.as_ref()))?)
        .bind(each(rows, |row| stored(row.journal.as_ref()))?)
        .bind(column(rows, |row| row.epoch))
        .bind(each(rows, |row| stored(Some(&row.attempts)))?)
        .bind(column(rows, |row| i64::from(row.drives)))
        .bind(column(rows, |row| row.created.as_micros()))
        .bind(column(rows, |row| row.updated.as_micros()))
        .bind(column(rows, |row| row.wakeup.map(Timestamp::as_micros)))
        .execute(connection)
        .await;
    written.map(drop).map_err(StoreError::database("starting sagas"))
}

/// Writes what records and word change. The rows are locked.
pub(super) async fn update(connection: &mut PgConnection, rows: Vec<&SagaRow>) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.as_slice();
    let sql = "update saga
                  set status = r.status, direction = r.direction, cause = r.cause, parked = r.parked,
                      journal = r.journal, epoch = r.epoch, attempts = r.attempts, drives = r.drives,
                      updated = r.updated, wakeup = r.wakeup
                 from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                             $8::text[], $9::bigint[], $10::bigint[], $11::bigint[])
                      as r (id, status, direction, cause, parked, journal, epoch, attempts, drives, updated, wakeup)
                where saga.id = r.id";
    let written = sqlx::query(sql)
        .bind(column(rows, |row| row.id.0))
        .bind(each(rows, |row| name(&row.status))?)
        .bind(each(rows, |row| name(&row.direction))?)
        .bind(each(rows, |row| stored(row.cause.as_ref()))?)
        .bind(each(rows, |row| stored(row.parked.as_ref()))?)
        .bind(each(rows, |row| stored(row.journal.as_ref()))?)
        .bind(column(rows, |row| row.epoch))
        .bind(each(rows, |row| stored(Some(&row.attempts)))?)
        .bind(column(rows, |row| i64::from(row.drives)))
        .bind(column(rows, |row| row.updated.as_micros()))
        .bind(column(rows, |row| row.wakeup.map(Timestamp::as_micros)))
        .execute(connection)
        .await;
    written.map(drop).map_err(StoreError::database("recording sagas"))
}

fn each<T>(rows: &[&SagaRow], value: impl Fn(&SagaRow) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| value(row)).collect()
}
