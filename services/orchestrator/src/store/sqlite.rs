//! The saga log in a SQLite file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use spillway_saga::{
    SagaId, SagaRow,
    log::{Due, Listing},
};
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    sqlite::{Database, SqliteSession, json, write},
};
use spillway_types::{Clock, Timestamp, id::Partition};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Command, Reader, Rows, SagaLog,
    text::{fingerprint, named, parsed, stored},
};

/// The service's own schema.
pub(super) const STEPS: &[Step] = &[
    Step { version: 2, name: "saga log", sql: include_str!("../../migrations/sqlite/0002_saga_log.sql") },
    Step { version: 3, name: "leases", sql: include_str!("../../migrations/sqlite/0003_leases.sql") },
];

/// Columns of a saga, in the order that [`saga`] reads them.
const COLUMNS: &str =
    "id, key, fingerprint, definition, version, input, status, direction, cause, parked, journal, epoch,
                       attempts, drives, created, updated, wakeup";

/// Where the tenth byte of an id, which is its partition, begins in its text.
const PARTITION: u32 = 22;

/// The write end.
#[derive(Debug)]
pub struct SqliteStore {
    session: SqliteSession,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    database: Database,
}

/// Opens the log's file and raises its epoch.
///
/// # Errors
/// When the file cannot be opened or its schema not be brought up to date.
pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<(SqliteStore, SqliteReader, i64), StoreError> {
    ends(Database::open(path, STEPS).await?, clock).await
}

/// The two ends of an opened file, and the epoch of this process, which is raised by one.
pub(super) async fn ends(
    database: Database,
    clock: Arc<dyn Clock>,
) -> Result<(SqliteStore, SqliteReader, i64), StoreError> {
    let mut session = database.session(clock).await?;
    let epoch = sqlx::query("update epoch set value = value + 1 returning value")
        .fetch_one(session.connection())
        .await
        .map_err(StoreError::database("raising the epoch"))?
        .get(0);
    Ok((SqliteStore { session }, SqliteReader { database }, epoch))
}

// === impl SqliteStore ===

#[async_trait]
impl Store<SagaLog> for SqliteStore {
    type Session = SqliteSession;

    fn session(&mut self) -> &mut SqliteSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for command in commands {
            match command {
                Command::Start(row) => drop(keys.insert(row.key.as_str())),
                Command::Record(id, ..) | Command::Post(id, _) => drop(ids.insert(*id)),
            }
        }
        let connection = self.session.connection();
        let by_key = "key in (select value from json_each(?1))";
        let by_id = "id in (select value from json_each(?1))";
        let known = if keys.is_empty() { Vec::new() } else { select(connection, by_key, json(keys)?).await? };
        let keys: BTreeMap<_, _> = known.iter().map(|row| (row.key.clone(), row.id)).collect();
        let recorded = if ids.is_empty() { Vec::new() } else { select(connection, by_id, json(ids)?).await? };
        let sagas = Tracked::loaded(known.into_iter().chain(recorded).map(|row| (row.id, row)));
        Ok(Rows { sagas, keys, ..Rows::default() })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.connection();
        let insert =
            "insert into saga (id, key, fingerprint, definition, version, input, status, direction, cause, parked,
                                        journal, epoch, attempts, drives, created, updated, wakeup)
                      select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                             value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
                             value ->> 13, value ->> 14, value ->> 15, value ->> 16
                        from json_each(?1)";
        let inserted = rows.sagas.inserted().map(|(_, row)| columns(row)).collect::<Result<Vec<_>, _>>()?;
        write(connection, "starting sagas", insert, inserted).await?;
        let update = "update saga
                         set status = r.value ->> 6, direction = r.value ->> 7, cause = r.value ->> 8,
                             parked = r.value ->> 9, journal = r.value ->> 10, epoch = r.value ->> 11,
                             attempts = r.value ->> 12, drives = r.value ->> 13, updated = r.value ->> 15,
                             wakeup = r.value ->> 16
                        from json_each(?1) r
                       where saga.id = r.value ->> 0";
        let updated = rows.sagas.updated().map(|(_, row)| columns(row)).collect::<Result<Vec<_>, _>>()?;
        write(connection, "recording sagas", update, updated).await
    }
}

async fn select(connection: &mut SqliteConnection, condition: &str, bound: String) -> Result<Vec<SagaRow>, StoreError> {
    let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where {condition}"));
    let rows = sqlx::query(sql).bind(bound).fetch_all(connection).await;
    rows.map_err(StoreError::database("reading sagas"))?.iter().map(saga).collect()
}

/// A row as the array that `insert` and `update` read.
fn columns(row: &SagaRow) -> Result<serde_json::Value, StoreError> {
    Ok(serde_json::json!([
        row.id,
        row.key,
        fingerprint(row)?,
        row.definition,
        row.version,
        row.input,
        row.status,
        row.direction,
        stored(row.cause.as_ref())?,
        stored(row.parked.as_ref())?,
        stored(row.journal.as_ref())?,
        row.epoch,
        stored(Some(&row.attempts))?,
        row.drives,
        row.created,
        row.updated,
        row.wakeup,
    ]))
}

fn saga(row: &SqliteRow) -> Result<SagaRow, StoreError> {
    Ok(SagaRow {
        id: row.get::<&str, _>(0).parse().map_err(StoreError::corrupt)?,
        key: row.get(1),
        fingerprint: row.get::<String, _>(2).into_bytes(),
        definition: row.get(3),
        version: row.get(4),
        input: row.get(5),
        status: named(row.get(6))?,
        direction: named(row.get(7))?,
        cause: parsed(row.get(8))?,
        parked: parsed(row.get(9))?,
        journal: parsed(row.get(10))?,
        epoch: row.get(11),
        attempts: parsed(row.get(12))?.unwrap_or_default(),
        drives: row.get(13),
        created: Timestamp::from_micros(row.get(14)),
        updated: Timestamp::from_micros(row.get(15)),
        wakeup: row.get::<Option<i64>, _>(16).map(Timestamp::from_micros),
    })
}

// === impl SqliteReader ===

#[async_trait]
impl Reader for SqliteReader {
    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where id = ?1"));
        let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a saga"))?.as_ref().map(saga).transpose()
    }

    async fn load_all(&self, ids: &[SagaId]) -> Result<Vec<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where id in (select value from json_each(?1))"));
        let rows = sqlx::query(sql).bind(json(ids)?).fetch_all(self.database.readers()).await;
        rows.map_err(StoreError::database("reading sagas"))?.iter().map(saga).collect()
    }

    async fn find(&self, key: &str) -> Result<Option<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where key = ?1"));
        let row = sqlx::query(sql).bind(key).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a saga by its key"))?.as_ref().map(saga).transpose()
    }

    async fn due(&self, query: Due) -> Result<Vec<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "select {COLUMNS} from saga
              where status not in ('COMPLETED', 'REFUSED', 'COMPENSATED')
                and (status in ('RUNNING', 'COMPENSATING') and updated <= ?1
                     or status = 'PARKED' and wakeup <= ?3
                     or wakeup <= ?2)
                and (?7 is null or substr(id, {PARTITION}, 2) in (select value from json_each(?7)))
                and (created, id) > (?4, ?5)
              order by created, id limit ?6"
        ));
        let (created, id) = query.after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_micros(), id.to_string()));
        let hex = |partition: Partition| format!("{:02x}", partition.0);
        let partitions =
            query.partitions.map(|those| json(those.into_iter().map(hex).collect::<Vec<_>>())).transpose()?;
        let rows = sqlx::query(sql)
            .bind(query.quiet_since.map_or(i64::MIN, Timestamp::as_micros))
            .bind(query.waiting_until.as_micros())
            .bind(query.parked_until.as_micros())
            .bind(created)
            .bind(id)
            .bind(query.limit)
            .bind(partitions)
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("reading unfinished sagas"))?;
        rows.iter().map(saga).collect()
    }

    async fn list(&self, query: Listing) -> Result<Vec<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "select {COLUMNS} from saga
              where (?1 = '[]' or status in (select value from json_each(?1))) and (created, id) < (?2, ?3)
              order by created desc, id desc limit ?4"
        ));
        let (created, id) = query.before.map_or((i64::MAX, String::new()), |(at, id)| (at.as_micros(), id.to_string()));
        let statuses = json(&query.statuses)?;
        let rows = sqlx::query(sql)
            .bind(statuses)
            .bind(created)
            .bind(id)
            .bind(query.limit)
            .fetch_all(self.database.readers())
            .await
            .map_err(StoreError::database("listing sagas"))?;
        rows.iter().map(saga).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
