//! A connection of one's own, kept between uses, for whoever speaks to a database beside its writer and its readers.
//!
//! It is taken out for each use and put back when all went well. One that failed, or whose user went away in the middle,
//! is never met again.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgConnection, Postgres, Sqlite, SqliteConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow},
};

use crate::{StoreError, postgres, sqlite};

/// How long one use may take, connecting included. A statement's own limit is shorter; this one ends waits for a server
/// that was cut off and will never answer.
const USE_MAX: Duration = Duration::from_secs(30);

/// A connection to Postgres.
#[derive(Debug)]
pub(crate) struct PgSpare {
    database: postgres::Database,
    name: &'static str,
    /// What is said to a new connection.
    greeting: &'static str,
    place: Place<PgConnection>,
}

/// A connection to a SQLite file. It waits for the writer's transactions, and the writer for its.
#[derive(Debug)]
pub(crate) struct SqliteSpare {
    options: SqliteConnectOptions,
    place: Place<SqliteConnection>,
}

struct Place<C>(Mutex<Option<C>>);

// === impl PgSpare ===

impl PgSpare {
    /// `name` is shown in `pg_stat_activity`.
    pub(crate) fn new(database: postgres::Database, name: &'static str, greeting: &'static str) -> Self {
        Self { database, name, greeting, place: Place::default() }
    }

    /// Answers the rows.
    pub(crate) async fn fetch(
        &self,
        doing: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        within(doing, async {
            let mut connection = self.connection().await?;
            let rows = query.fetch_all(&mut connection).await.map_err(StoreError::database(doing))?;
            self.place.put(connection);
            Ok(rows)
        })
        .await
    }

    /// Answers how many rows it changed.
    pub(crate) async fn execute(
        &self,
        doing: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<u64, StoreError> {
        within(doing, async {
            let mut connection = self.connection().await?;
            let done = query.execute(&mut connection).await.map_err(StoreError::database(doing))?;
            self.place.put(connection);
            Ok(done.rows_affected())
        })
        .await
    }

    async fn connection(&self) -> Result<PgConnection, StoreError> {
        if let Some(connection) = self.place.take() {
            return Ok(connection);
        }
        let mut connection = self.database.connect(self.name).await?;
        let greeted = sqlx::raw_sql(self.greeting).execute(&mut connection).await;
        greeted.map_err(StoreError::database("greeting the database"))?;
        Ok(connection)
    }
}

// === impl SqliteSpare ===

impl SqliteSpare {
    pub(crate) fn new(database: &sqlite::Database) -> Self {
        let options = (*database.readers().connect_options()).clone().read_only(false);
        Self { options, place: Place::default() }
    }

    /// Answers the rows.
    pub(crate) async fn fetch(
        &self,
        doing: &'static str,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        within(doing, async {
            let mut connection = self.connection().await?;
            let rows = query.fetch_all(&mut connection).await.map_err(StoreError::database(doing))?;
            self.place.put(connection);
            Ok(rows)
        })
        .await
    }

    /// Carries out all of `queries` in one transaction, and answers how many rows the last one changed.
    pub(crate) async fn execute(
        &self,
        doing: &'static str,
        queries: Vec<Query<'_, Sqlite, SqliteArguments>>,
    ) -> Result<u64, StoreError> {
        within(doing, async {
            let mut connection = self.connection().await?;
            // Immediate: what is read in it cannot be stale, and waiting for the writer happens here only.
            execute(&mut connection, doing, sqlx::query("begin immediate")).await?;
            let mut changed = 0;
            for query in queries {
                changed = execute(&mut connection, doing, query).await?;
            }
            execute(&mut connection, doing, sqlx::query("commit")).await?;
            self.place.put(connection);
            Ok(changed)
        })
        .await
    }

    async fn connection(&self) -> Result<SqliteConnection, StoreError> {
        match self.place.take() {
            Some(connection) => Ok(connection),
            None => self.options.connect().await.map_err(StoreError::database("opening the database")),
        }
    }
}

async fn execute(
    connection: &mut SqliteConnection,
    doing: &'static str,
    query: Query<'_, Sqlite, SqliteArguments>,
) -> Result<u64, StoreError> {
    query.execute(connection).await.map(|done| done.rows_affected()).map_err(StoreError::database(doing))
}

async fn within<T>(doing: &'static str, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(USE_MAX, work).await.unwrap_or_else(|_| {
        Err(StoreError::Database { doing, source: sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()) })
    })
}

// === impl Place ===

impl<C> Place<C> {
    fn take(&self) -> Option<C> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, connection: C) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }
}

impl<C> Default for Place<C> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<C> fmt::Debug for Place<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}
