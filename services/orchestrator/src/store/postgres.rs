//! The saga log in a Postgres database, which replicas of the orchestrator share.
//!
//! Every transaction first locks the leases that its records were written under, so that nobody can take them before it
//! ends. A record under another epoch is refused, alone; its neighbours are written. Then come the rows of sagas, in the
//! order of their ids, and at last new rows, in the order of their keys: so replicas never wait for each other in a circle.
//! Two that start the same key meet in the unique index; the second is decided again, and finds the first's saga.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use opentelemetry::metrics::Counter;
use spillway_saga::{
    SagaId, SagaRow,
    log::{Due, Listing},
};
use spillway_storage::{
    Store, StoreError, Tracked,
    database::Step,
    leases,
    postgres::{Database, PgSession, column},
};
use spillway_types::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, postgres::PgRow};

use self::{
    rows::{COLUMNS, insert, saga, update},
    word::Ear,
};
use super::{Command, Fences, Reader, Rows, SagaLog};
use crate::metrics;

mod rows;
pub mod word;

/// The service's own schema.
pub(super) const STEPS: &[Step] = &[
    Step { version: 2, name: "saga log", sql: include_str!("../../migrations/postgres/0002_saga_log.sql") },
    Step { version: 3, name: "leases", sql: include_str!("../../migrations/postgres/0003_leases.sql") },
];

/// Which sagas a look for the driverless finds. `$1` is `quiet_since`, `$2` `parked_until`, `$3` `waiting_until`.
const DUE: &str = "journal is null
                   and (status in ('RUNNING', 'COMPENSATING') and updated <= $1
                        or status = 'PARKED' and wakeup <= $2
                        or wakeup <= $3)";
/// The same without those that were merely quiet for long: timers, and word that was left.
const WOKEN: &str = "journal is null and wakeup is not null and $1::bigint is null
                     and (wakeup <= $3 or status = 'PARKED' and wakeup <= $2)";

/// The write end.
#[derive(Debug)]
pub struct PgStore {
    session: PgSession,
    /// Records that came under a lease that was lost.
    refused: Counter<u64>,
}

/// The read end.
#[derive(Clone, Debug)]
pub struct PgReader {
    database: Database,
    ear: Ear,
}

/// The two ends of an opened database, and what carries word from other replicas to them.
pub(super) fn ends(database: &Database) -> (PgStore, PgReader, word::Listener) {
    let (ear, listener) = word::open(database.clone());
    let store = PgStore { session: database.session(), refused: metrics::refused() };
    (store, PgReader { database: database.clone(), ear }, listener)
}

// === impl PgStore ===

#[async_trait]
impl Store<SagaLog> for PgStore {
    type Session = PgSession;

    fn session(&mut self) -> &mut PgSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let (mut ids, mut keys, mut partitions) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for command in commands {
            match command {
                Command::Start(row) => {
                    keys.insert(row.key.as_str());
                    partitions.insert(row.id.partition());
                }
                Command::Record(id, ..) => {
                    ids.insert(*id);
                    partitions.insert(id.partition());
                }
                // Anybody may leave word.
                Command::Post(id, _) => drop(ids.insert(*id)),
            }
        }
        let connection = self.session.connection()?;
        let epochs = if partitions.is_empty() { BTreeMap::new() } else { leases::lock(connection, partitions).await? };
        let known = by_keys(connection, &keys).await?;
        let keys = known.iter().map(|row| (row.key.clone(), row.id)).collect();
        // Read behind its lock, a row replaces what was found of it by its key.
        let locked = by_ids(connection, &ids).await?;
        let sagas = Tracked::loaded(known.into_iter().chain(locked).map(|row| (row.id, row)));
        Ok(Rows { sagas, keys, fences: Fences::Epochs(epochs), refused: 0 })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.connection()?;
        update(connection, rows.sagas.updated().map(|(_, row)| row).collect()).await?;
        insert(connection, rows.sagas.inserted().map(|(_, row)| row).collect()).await?;
        if rows.refused > 0 {
            tracing::warn!(records = rows.refused, "refused: their leases are another replica's by now");
            self.refused.add(u64::try_from(rows.refused).unwrap_or(u64::MAX), &[]);
        }
        Ok(())
    }
}

async fn by_keys(connection: &mut PgConnection, keys: &BTreeSet<&str>) -> Result<Vec<SagaRow>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where key = any($1)"));
    let rows = sqlx::query(sql).bind(column(keys, |key| *key)).fetch_all(connection).await;
    sagas(rows, "reading sagas by their keys")
}

async fn by_ids(connection: &mut PgConnection, ids: &BTreeSet<SagaId>) -> Result<Vec<SagaRow>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where id = any($1) order by id for update"));
    let rows = sqlx::query(sql).bind(column(ids, |id| id.0)).fetch_all(connection).await;
    sagas(rows, "reading sagas")
}

fn sagas(rows: Result<Vec<PgRow>, sqlx::Error>, doing: &'static str) -> Result<Vec<SagaRow>, StoreError> {
    rows.map_err(StoreError::database(doing))?.iter().map(saga).collect()
}

// === impl PgReader ===

#[async_trait]
impl Reader for PgReader {
    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where id = $1"));
        let row = sqlx::query(sql).bind(id.0).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a saga"))?.as_ref().map(saga).transpose()
    }

    async fn load_all(&self, ids: &[SagaId]) -> Result<Vec<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where id = any($1)"));
        sagas(
            sqlx::query(sql).bind(column(ids, |id| id.0)).fetch_all(self.database.readers()).await,
            "reading sagas that are followed",
        )
    }

    async fn find(&self, key: &str) -> Result<Option<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!("select {COLUMNS} from saga where key = $1"));
        let row = sqlx::query(sql).bind(key).fetch_optional(self.database.readers()).await;
        row.map_err(StoreError::database("reading a saga by its key"))?.as_ref().map(saga).transpose()
    }

    async fn due(&self, query: Due) -> Result<Vec<SagaRow>, StoreError> {
        let which = if query.quiet_since.is_some() { DUE } else { WOKEN };
        let sql = AssertSqlSafe(format!(
            "select {COLUMNS} from saga
              where {which}
                and ($4::smallint[] is null or get_byte(uuid_send(id), 9) = any($4))
                and (created, id) > ($5, $6)
              order by created, id limit $7"
        ));
        let partitions = query.partitions.map(|those| column(&those, |partition| i16::from(partition.0)));
        let (created, id) = query.after.map_or((i64::MIN, uuid::Uuid::nil()), |(at, id)| (at.as_micros(), id.0));
        let rows = sqlx::query(sql)
            .bind(query.quiet_since.map(Timestamp::as_micros))
            .bind(query.parked_until.as_micros())
            .bind(query.waiting_until.as_micros())
            .bind(partitions)
            .bind(created)
            .bind(id)
            .bind(i64::from(query.limit))
            .fetch_all(self.database.readers())
            .await;
        sagas(rows, "reading unfinished sagas")
    }

    async fn list(&self, query: Listing) -> Result<Vec<SagaRow>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "select {COLUMNS} from saga
              where (cardinality($1::text[]) = 0 or status = any($1)) and (created, id) < ($2, $3)
              order by created desc, id desc limit $4"
        ));
        let (created, id) = query.before.map_or((i64::MAX, uuid::Uuid::nil()), |(at, id)| (at.as_micros(), id.0));
        let rows = sqlx::query(sql)
            .bind(column(&query.statuses, |status| status.as_str()))
            .bind(created)
            .bind(id)
            .bind(i64::from(query.limit))
            .fetch_all(self.database.readers())
            .await;
        sagas(rows, "listing sagas")
    }

    async fn tell(&self) {
        word::tell(&self.database).await;
    }

    async fn posted(&self) {
        self.ear.heard().await;
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
