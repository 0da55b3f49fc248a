//! Postgres, used so that nothing waits for ever: a writer that owns its connection, a bounded pool for reading, and a
//! limit on every statement, lock and idle transaction.
//!
//! Nobody calls another service while holding a connection: readers give theirs back before they answer, and the writer's
//! transaction holds nothing but its own statements.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use spillway_types::Timestamp;
use sqlx::{
    ConnectOptions, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    Session, StoreError,
    config::{PostgresConfig, secret},
    database::{Step, migrator},
};

pub mod idempotency;
pub mod inbox;
pub mod outbox;

/// The database's clock, as every time is stored: microseconds since the Unix epoch.
pub const NOW: &str = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";

/// A batch is some hundreds of rows and takes milliseconds. One that takes this long has met something that is not going
/// to end.
const WRITE_STATEMENT_MS: u32 = 5_000;
/// Reads are by key or a page; a caller's deadline is about this long.
const READ_STATEMENT_MS: u32 = 2_000;
/// Another replica's batch holds its locks for milliseconds.
const LOCK_MS: u32 = 2_000;
/// A process that was frozen in a transaction must not hold its locks longer than a lease lasts.
const IDLE_IN_TRANSACTION_MS: u32 = 1_000;
/// A read that cannot get a connection within this time is shed rather than queued.
const READER_WAIT: Duration = Duration::from_millis(250);
/// A server that is there answers within milliseconds; while it is not, callers should hear so soon.
const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// How long to wait for a rollback before the connection is given up, and the transaction with it.
const ROLLBACK_WAIT: Duration = Duration::from_secs(1);
/// How statements are planned. Everything is read by a key: a statement that was prepared while its table was small would go
/// on reading all of it until the table is next analysed, which is too late for a sale that fills it in minutes. And nothing
/// is compiled: that takes hundreds of milliseconds, and the server deems whatever does read a whole table worth it.
const PLANS: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];
/// A connection is replaced after this time, so that a server's memory for it stays bounded and load follows a failover.
const READER_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The tables that every service has: outbox, inbox and idempotency are always migration 1, so a service's own begin at 2.
const SHARED: &[Step] = &[
    Step { version: 1, name: "messages", sql: include_str!("../migrations/postgres/0001_messages.sql") },
    Step { version: 1001, name: "dead letters", sql: include_str!("../migrations/postgres/1001_dead_letters.sql") },
];

/// One service's database.
#[derive(Clone, Debug)]
pub struct Database {
    options: Arc<PgConnectOptions>,
    readers: PgPool,
}

/// A writer's connection, and its transaction. Replicas have one each; rows' locks decide among them.
#[derive(Debug)]
pub struct PgSession {
    options: PgConnectOptions,
    /// None while there is none that is of use.
    connection: Option<PgConnection>,
}

// === impl Database ===

impl Database {
    /// A database behind `options`. Connections are made when they are needed, so processes can start in any order.
    ///
    /// # Errors
    /// When the password's file cannot be read.
    pub async fn open(options: &PgConnectOptions, config: &PostgresConfig) -> Result<Self, StoreError> {
        let mut options = options.clone().disable_statement_logging();
        if let Some(password) = secret(&config.password_file).map_err(|error| StoreError::Unfit(error.to_string()))? {
            options = options.password(&password);
        }
        let readers = PgPoolOptions::new()
            .max_connections(config.readers_max)
            .acquire_timeout(READER_WAIT)
            .max_lifetime(READER_LIFETIME)
            .connect_lazy_with(limited(&options, "reader", READ_STATEMENT_MS));
        Ok(Self { options: Arc::new(options), readers })
    }

    /// Brings the schema up to date: first the tables that every service has, then the service's own `steps`. An advisory
    /// lock of the database lets one replica do it while the others wait.
    ///
    /// # Errors
    /// When the database does not answer, or a migration fails or was edited after it had been applied.
    pub async fn migrate(&self, steps: &[Step]) -> Result<(), StoreError> {
        let options = PgConnectOptions::clone(&self.options).application_name("spillway migration");
        let mut connection = connect(&options).await?;
        migrator(SHARED, steps).run(&mut connection).await.map_err(|error| {
            let database = self.options.get_database().unwrap_or_default();
            StoreError::Unfit(format!("migrating {database}: {error}"))
        })
    }

    /// Connections for reading.
    pub fn readers(&self) -> &PgPool {
        &self.readers
    }

    /// A session for a writer. It connects at its first transaction, and again whenever it has to.
    pub fn session(&self) -> PgSession {
        PgSession { options: limited(&self.options, "writer", WRITE_STATEMENT_MS), connection: None }
    }

    /// A connection of the caller's own, under the writers' limits; `what` is shown in `pg_stat_activity`.
    ///
    /// # Errors
    /// When the database does not take it within a second.
    pub async fn connect(&self, what: &str) -> Result<PgConnection, StoreError> {
        connect(&limited(&self.options, what, WRITE_STATEMENT_MS)).await
    }

    /// How to connect, for whoever manages connections by itself, such as a listener.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
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

fn limited(options: &PgConnectOptions, what: &str, statement_ms: u32) -> PgConnectOptions {
    let limits = [
        ("statement_timeout", statement_ms),
        ("lock_timeout", LOCK_MS),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS),
    ];
    options.clone().application_name(&format!("spillway {what}")).options(limits).options(PLANS)
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let doing = "connecting to the database";
    match tokio::time::timeout(CONNECT_WAIT, options.connect()).await {
        Ok(connected) => connected.map_err(StoreError::database(doing)),
        Err(_) => {
            let source = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
            Err(StoreError::Database { doing, source })
        }
    }
}

// === impl PgSession ===

impl PgSession {
    /// The connection, inside the transaction.
    ///
    /// # Errors
    /// Outside of one.
    pub fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.connection.as_mut().ok_or(StoreError::Stopped)
    }

    async fn execute(&mut self, doing: &'static str, sql: &'static str) -> Result<(), StoreError> {
        // A simple query: one round trip, nothing prepared.
        let done = sqlx::raw_sql(sql).execute(self.connection()?).await;
        done.map(drop).map_err(StoreError::database(doing))
    }
}

#[async_trait]
impl Session for PgSession {
    async fn begin(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.options).await?);
        }
        self.execute("beginning a transaction", "begin").await
    }

    async fn now(&mut self) -> Result<Timestamp, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {NOW}"));
        let row = sqlx::query(sql).fetch_one(self.connection()?).await;
        row.map(|row| Timestamp::from_micros(row.get(0))).map_err(StoreError::database("asking for the time"))
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.execute("committing", "commit").await
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        if self.connection.is_some() {
            let rolled_back = tokio::time::timeout(ROLLBACK_WAIT, self.execute("rolling back", "rollback")).await;
            if !matches!(rolled_back, Ok(Ok(()))) {
                // The server undoes what a broken connection has begun; the next transaction gets a new one.
                self.connection = None;
            }
        }
        Ok(())
    }

    async fn mark_published(&mut self, positions: &[i64], now: Timestamp) -> Result<(), StoreError> {
        outbox::mark_published(self.connection()?, positions, now).await
    }

    async fn forget_records(&mut self, now: Timestamp) -> Result<(), StoreError> {
        idempotency::forget(self.connection()?, now).await
    }
}

/// One column of a batch of rows, to be bound as an array and read with `unnest`.
pub fn column<'a, T: 'a, U>(rows: impl IntoIterator<Item = &'a T>, value: impl Fn(&'a T) -> U) -> Vec<U> {
    rows.into_iter().map(value).collect()
}
