//! The services' databases, opened together for reading, and what the checks' statements find there beside them.

use std::{path::PathBuf, time::Duration};

use futures_util::TryStreamExt;
use serde_json::Value;
use spillway_storage::database::DatabaseUrl;
use spillway_types::{Clock, SystemClock, Timestamp};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use super::{
    Checked, Moment, Suspects, VerifyError, Violation,
    check::Check,
    fulfilment, ledger, orders, payments,
    places::{Place, Places, SANDBOX},
    snapshot::{Copied, Snapshot},
};

/// What the first of all checks says.
const SOUND: &str = "files are sound: pages, trees, types, nothing missing";
/// What it says where there is a server, which minds its own pages.
const SOUND_SERVED: &str = "databases are sound: indexes and constraints hold";
/// How long a statement waits for a file that is just being recovered.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What all statements share. Temporary: nothing of it is in any file.
pub(super) const SCRATCH: &str = "
    pragma temp_store = memory;
    create temp table moment (
        quiet_since integer not null, told_since integer not null, stuck_since integer not null, kept_since integer not null
    );
    create temp table order_move (from_state text, name text not null, role text not null, to_state text not null);
    create temp table state_move (kind text not null, from_state text, to_state text not null);
    -- Sagas that have ended.
    create temp view finished as
        select id, definition, status, updated
          from orchestrator.saga
         where status in ('COMPLETED', 'REFUSED', 'COMPENSATED');
    -- Orders whose saga ended a moment ago: nothing of theirs is on its way from one file to another.
    create temp view at_rest as
        select id as order_id, status
          from finished
         where definition = 'place_order' and updated <= (select quiet_since from moment);
";

/// The databases, opened together: the files themselves, and copies of what is on servers.
#[derive(Debug)]
pub(super) struct Databases {
    connection: SqliteConnection,
    places: Places,
    /// Those that there are, and their files.
    files: Vec<(Place, PathBuf)>,
    /// Keeps the copies, while there are any.
    snapshot: Option<Snapshot>,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many rows.
    pub(super) total: u64,
    /// The first of them.
    pub(super) rows: Vec<Violation>,
    /// What they are about, each.
    pub(super) subjects: Suspects,
}

// === impl Databases ===

impl Databases {
    /// Opens the files, and copies what is on servers.
    pub(super) async fn open(places: Places) -> Result<Self, VerifyError> {
        let snapshot = if places.any_served() { Some(Snapshot::take(&places).await?) } else { None };
        let mut files = Vec::new();
        for place in &places.all {
            let copied = snapshot.as_ref().and_then(|snapshot| snapshot.file(place));
            let file = match (copied, &place.url) {
                (Some(copied), _) => copied,
                (None, DatabaseUrl::Sqlite(_)) => place.url.file(&places.data, place.tables),
                (None, DatabaseUrl::Postgres(_)) => continue,
            };
            if file.exists() {
                files.push((place.clone(), file));
            } else if !place.optional {
                return Err(VerifyError::Missing(file));
            }
        }
        let connection = connect(&files).await?;
        let mut databases = Self { connection, places, files, snapshot };
        databases.attach().await?;
        databases.prepare().await?;
        Ok(databases)
    }

    /// Opens them once more where they are copies, which stay as they are however long one waits.
    pub(super) async fn again(self) -> Result<Self, VerifyError> {
        match self.snapshot {
            Some(_) => Self::open(self.places).await,
            None => Ok(self),
        }
    }

    /// The present, as far as they know of it.
    pub(super) fn now(&self) -> Timestamp {
        self.snapshot.as_ref().and_then(Snapshot::as_of).unwrap_or_else(|| SystemClock.now())
    }

    /// What was copied, and from where.
    pub(super) fn copied(&self) -> &[Copied] {
        self.snapshot.as_ref().map_or(&[], Snapshot::databases)
    }

    async fn attach(&mut self) -> Result<(), VerifyError> {
        for (Place { schema, .. }, path) in &self.files {
            let name = path.to_str().ok_or_else(|| VerifyError::Path(path.clone()))?;
            sqlx::query(AssertSqlSafe(format!("attach database ?1 as {schema}")))
                .bind(name)
                .execute(&mut self.connection)
                .await
                .map_err(|source| VerifyError::Open { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// Makes what statements find beside the files. The legal moves are those of the services' own tables.
    async fn prepare(&mut self) -> Result<(), VerifyError> {
        let failed = |source| VerifyError::Statement { what: "what may become what", source };
        sqlx::raw_sql(SCRATCH).execute(&mut self.connection).await.map_err(failed)?;
        let of_orders = serde_json::json!(orders::moves()).to_string();
        let sql = "insert into order_move
                   select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(?1)";
        sqlx::query(sql).bind(of_orders).execute(&mut self.connection).await.map_err(failed)?;
        let moves = [ledger::moves(), payments::moves(), fulfilment::moves()].concat();
        let of_others = serde_json::json!(moves).to_string();
        let sql = "insert into state_move select value ->> 0, value ->> 1, value ->> 2 from json_each(?1)";
        sqlx::query(sql).bind(of_others).execute(&mut self.connection).await.map(drop).map_err(failed)
    }

    /// Whether the sandbox provider's file is among them.
    pub(super) fn has_provider(&self) -> bool {
        self.files.iter().any(|(place, _)| place.schema == SANDBOX)
    }

    /// Says what moments the next statements compare with.
    pub(super) async fn set_moment(&mut self, moment: &Moment) -> Result<(), VerifyError> {
        let failed = |source| VerifyError::Statement { what: "the present moment", source };
        sqlx::query("delete from moment").execute(&mut self.connection).await.map_err(failed)?;
        sqlx::query("insert into moment values (?1, ?2, ?3, ?4)")
            .bind(moment.quiet_since.as_micros())
            .bind(moment.told_since.as_micros())
            .bind(moment.stuck_since.as_micros())
            .bind(moment.kept_since.as_micros())
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(failed)
    }

    /// Asks SQLite whether the files are sound in themselves, and servers whether their schemas are. SQLite does not repeat
    /// what the schemas' `check` constraints say, since a connection that only reads does not know of them; the checks
    /// below judge more than those.
    pub(super) async fn soundness(&mut self, rows_max: usize) -> Result<Checked, VerifyError> {
        let (mut violations, mut violated) = (Vec::new(), 0);
        for (place, _) in self.files.clone() {
            let copied = self.snapshot.as_ref().and_then(|snapshot| snapshot.of(&place));
            let (what, name, problems) = match copied {
                Some(copied) => ("database", copied.address.clone(), copied.unsound.clone()),
                None => ("file", place.tables.file.to_owned(), self.quick_check(place.schema).await?),
            };
            for problem in problems {
                violated += 1;
                if violations.len() < rows_max {
                    let columns = [(what, name.clone()), ("problem", problem)];
                    let columns = columns.map(|(name, text)| (name.to_owned(), Value::String(text)));
                    violations.push(Violation(columns.to_vec()));
                }
            }
        }
        let looked_at = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        let (title, about) = if self.snapshot.is_some() { (SOUND_SERVED, "databases") } else { (SOUND, "files") };
        Ok(Checked { id: "files", name: "files", title, about, looked_at, violated, violations })
    }

    async fn quick_check(&mut self, schema: &str) -> Result<Vec<String>, VerifyError> {
        let sql = AssertSqlSafe(format!("pragma {schema}.quick_check"));
        let problems: Vec<String> = match sqlx::query_scalar(sql).fetch_all(&mut self.connection).await {
            Ok(problems) => problems,
            Err(sqlx::Error::Database(error)) => vec![error.message().to_owned()],
            Err(source) => return Err(VerifyError::Statement { what: SOUND, source }),
        };
        Ok(problems.into_iter().filter(|problem| problem != "ok").collect())
    }

    /// The one number that a statement gives.
    pub(super) async fn count(&mut self, what: &'static str, sql: &'static str) -> Result<u64, VerifyError> {
        let row = sqlx::query(sql).fetch_one(&mut self.connection).await;
        let row = row.map_err(|source| VerifyError::Statement { what, source })?;
        Ok(u64::try_from(row.get::<i64, _>(0)).unwrap_or(0))
    }

    /// The rows that a statement gives, for counting and telling.
    pub(super) async fn rows(&mut self, what: &'static str, sql: &'static str) -> Result<Vec<SqliteRow>, VerifyError> {
        let rows = sqlx::query(sql).fetch_all(&mut self.connection).await;
        rows.map_err(|source| VerifyError::Statement { what, source })
    }

    /// The rows that violate a check; only those about `suspects`, when there are any to confirm.
    pub(super) async fn find(
        &mut self,
        check: &Check,
        suspects: Option<&Suspects>,
        rows_max: usize,
    ) -> Result<Found, VerifyError> {
        let failed = |source| VerifyError::Statement { what: check.title, source };
        let mut found = Found::default();
        let mut rows = sqlx::query(check.violations).fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let subject = value(&row, 0).to_string();
            if suspects.is_some_and(|suspects| !suspects.contains(&subject)) {
                continue;
            }
            found.total += 1;
            if found.rows.len() < rows_max {
                found.rows.push(violation(&row));
            }
            found.subjects.insert(subject);
        }
        Ok(found)
    }
}

/// What is attached to a connection that only reads is only read, too; so one of the files comes first.
async fn connect(files: &[(Place, PathBuf)]) -> Result<SqliteConnection, VerifyError> {
    let first = files.first().map(|(_, path)| path.clone()).unwrap_or_default();
    SqliteConnectOptions::new()
        .filename(&first)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|source| VerifyError::Open { path: first, source })
}

fn violation(row: &SqliteRow) -> Violation {
    let columns = row.columns().iter();
    Violation(columns.map(|column| (column.name().to_owned(), value(row, column.ordinal()))).collect())
}

fn value(row: &SqliteRow, column: usize) -> Value {
    row.try_get::<Option<i64>, _>(column)
        .map(Value::from)
        .or_else(|_| row.try_get::<Option<String>, _>(column).map(Value::from))
        .unwrap_or_else(|error| Value::String(error.to_string()))
}
