//! SQLite, opened so that what was acknowledged stays: WAL, `synchronous=FULL`, one writer, a version without the WAL
//! corruption bug.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::Serialize;
use spillway_types::{Clock, Timestamp};
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    Session, StoreError,
    database::{Step, migrator},
};

/// Versions 3.7.0 to 3.51.2 can corrupt a database when a WAL is reset at the wrong moment (sqlite.org, 3.51.3 release
/// notes).
const VERSION_MIN: (u32, u32, u32) = (3, 51, 3);
/// How long a statement waits for another process's write lock; only `spillway verify` and backups ever hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the writer. Reads are short and two cores serve them; more would only queue on the disk.
const READERS_MAX: u32 = 4;
/// A read that cannot get a connection within this time is shed rather than queued.
const READER_WAIT: Duration = Duration::from_millis(250);

/// How long to wait for a writer that is just ending.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Pause between two tries at the lock; the system offers no waiting with a limit.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// One service's SQLite file.
#[derive(Clone, Debug)]
pub struct Database {
    path: PathBuf,
    readers: SqlitePool,
}

/// The writer's connection. There is one a file: the lock sees to it, across processes too.
#[derive(Debug)]
pub struct SqliteSession {
    path: PathBuf,
    connection: SqliteConnection,
    clock: Arc<dyn Clock>,
    _lock: File,
}

/// The tables that every service has: outbox, inbox and idempotency are always migration 1, so a service's own begin at 2.
const SHARED: &[Step] = &[
    Step { version: 1, name: "messages", sql: include_str!("../migrations/sqlite/0001_messages.sql") },
    Step { version: 1001, name: "dead letters", sql: include_str!("../migrations/sqlite/1001_dead_letters.sql") },
];

// === impl Database ===

impl Database {
    /// Opens the file, creating it if need be, and brings its schema up to date: first the tables that every service
    /// has, then the service's own `steps`, numbered from 2.
    ///
    /// # Errors
    /// When the file cannot be opened, the library is a version that can corrupt it, or a migration fails or was edited
    /// after it had been applied.
    pub async fn open(path: &Path, steps: &[Step]) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|error| StoreError::Unfit(format!("{}: {error}", directory.display())))?;
        }
        let mut writer = connect(path).await?;
        check_version(&mut writer).await?;
        migrator(SHARED, steps)
            .run(&mut writer)
            .await
            .map_err(|error| StoreError::Unfit(format!("migrating {}: {error}", path.display())))?;
        writer.close().await.map_err(StoreError::database("closing the migration connection"))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(READER_WAIT)
            // Made when they are needed: a busy machine that takes its time now is no reason not to start.
            .connect_lazy_with(options(path).read_only(true));
        Ok(Self { path: path.to_owned(), readers })
    }

    /// Connections for reading.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// The connection for the one writer.
    ///
    /// # Errors
    /// When the file cannot be opened, or another writer does not give it up within five seconds.
    pub async fn session(&self, clock: Arc<dyn Clock>) -> Result<SqliteSession, StoreError> {
        let lock = lock(&self.path).await?;
        Ok(SqliteSession { path: self.path.clone(), connection: connect(&self.path).await?, clock, _lock: lock })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not, within the readers' wait.
    pub async fn check(&self) -> Result<(), StoreError> {
        let one = sqlx::query("select 1").fetch_one(&self.readers).await;
        one.map(drop).map_err(StoreError::database("asking whether the database answers"))
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

async fn connect(path: &Path) -> Result<SqliteConnection, StoreError> {
    options(path).connect().await.map_err(StoreError::database("opening the database"))
}

/// Takes the right to write. The system gives it back when the process ends, however it ends.
async fn lock(path: &Path) -> Result<File, StoreError> {
    let path = path.with_extension("lock");
    let unfit = |error: &dyn std::fmt::Display| StoreError::Unfit(format!("locking {}: {error}", path.display()));
    let file = File::create(&path).map_err(|error| unfit(&error))?;
    let give_up = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::WouldBlock) => return Err(unfit(&"another process uses this data directory")),
            Err(TryLockError::Error(error)) => return Err(unfit(&error)),
        }
    }
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let row = sqlx::query("select sqlite_version()").fetch_one(connection).await;
    let text: String = row.map_err(StoreError::database("asking for the version"))?.get(0);
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    let version = (part(), part(), part());
    if version < VERSION_MIN {
        let (major, minor, patch) = VERSION_MIN;
        return Err(StoreError::Unfit(format!(
            "SQLite {text} can corrupt a write-ahead log; at least {major}.{minor}.{patch} is needed"
        )));
    }
    Ok(())
}

// === impl SqliteSession ===

impl SqliteSession {
    /// The connection, inside the transaction.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    async fn execute(&mut self, doing: &'static str, sql: &'static str) -> Result<(), StoreError> {
        sqlx::query(sql).execute(&mut self.connection).await.map(drop).map_err(StoreError::database(doing))
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn begin(&mut self) -> Result<(), StoreError> {
        // Immediate: the write lock is taken now, so that nothing read later in the transaction can be stale.
        self.execute("beginning a transaction", "begin immediate").await
    }

    async fn now(&mut self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.execute("committing", "commit").await
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        if self.execute("rolling back", "rollback").await.is_err() {
            // Either there was no transaction, or the connection is of no more use: a new one has neither trouble.
            self.connection = connect(&self.path).await?;
        }
        Ok(())
    }

    async fn mark_published(&mut self, positions: &[i64], now: Timestamp) -> Result<(), StoreError> {
        crate::outbox::mark_published(&mut self.connection, positions, now).await
    }

    async fn forget_records(&mut self, now: Timestamp) -> Result<(), StoreError> {
        crate::idempotency::forget(&mut self.connection, now).await
    }
}

/// A batch of rows as one JSON array, to be bound once and read with `json_each`. A loop of single statements would hop
/// to the driver's thread for each row.
///
/// # Errors
/// When a row cannot be written as JSON.
pub fn json<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<String, StoreError> {
    let rows: Vec<T> = rows.into_iter().collect();
    serde_json::to_string(&rows).map_err(StoreError::corrupt)
}

/// Runs one statement over a batch of rows bound as JSON; nothing at all for an empty batch.
///
/// The rows are written out before the future exists, so that it does not borrow what they are made from.
///
/// # Errors
/// As the statement's.
pub fn write<'c, T: Serialize>(
    connection: &'c mut SqliteConnection,
    doing: &'static str,
    sql: &'static str,
    rows: impl IntoIterator<Item = T>,
) -> BoxFuture<'c, Result<(), StoreError>> {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return Box::pin(std::future::ready(Ok(())));
    }
    let rows = json(rows);
    Box::pin(async move {
        sqlx::query(sql).bind(rows?).execute(connection).await.map(drop).map_err(StoreError::database(doing))
    })
}
