//! The services' files, opened together for reading, and what the checks' statements find there beside them.

use std::{path::Path, time::Duration};

use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use super::{Checked, Moment, Suspects, VerifyError, Violation, check::Check, fulfilment, ledger, orders, payments};

/// Each service's file, and the schema that statements know it by.
const FILES: [(&str, &str); 5] = [
    ("inventory", spillway_inventory::DATABASE),
    ("orders", spillway_order::DATABASE),
    ("payment", spillway_payment::DATABASE),
    ("fulfilment", spillway_fulfilment::DATABASE),
    ("orchestrator", spillway_orchestrator::DATABASE),
];
/// The sandbox provider's, which a platform with another provider does not have.
const SANDBOX: (&str, &str) = ("sandbox", spillway_payment::SANDBOX_DATABASE);
/// What the first of all checks says.
const SOUND: &str = "files are sound: pages, trees, types, nothing missing";
/// How long a statement waits for a file that is just being recovered.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What all statements share. Temporary: nothing of it is in any file.
const SCRATCH: &str = "
    pragma temp_store = memory;
    create temp table moment (
        quiet_since integer not null, stuck_since integer not null, kept_since integer not null
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

/// The files, opened together.
#[derive(Debug)]
pub(super) struct Databases {
    connection: SqliteConnection,
    schemas: Vec<(&'static str, &'static str)>,
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
    /// Opens the files in `data`.
    pub(super) async fn open(data: &Path) -> Result<Self, VerifyError> {
        let mut schemas = FILES.to_vec();
        if data.join(SANDBOX.1).exists() {
            schemas.push(SANDBOX);
        }
        if let Some((_, file)) = schemas.iter().find(|(_, file)| !data.join(file).exists()) {
            return Err(VerifyError::Missing(data.join(file)));
        }
        // What is attached to a connection that only reads is only read, too; so one of the files comes first.
        let first = data.join(FILES[0].1);
        let connection = SqliteConnectOptions::new()
            .filename(&first)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging()
            .connect()
            .await
            .map_err(|source| VerifyError::Open { path: first, source })?;
        let mut databases = Self { connection, schemas };
        databases.attach(data).await?;
        databases.prepare().await?;
        Ok(databases)
    }

    async fn attach(&mut self, data: &Path) -> Result<(), VerifyError> {
        for (schema, file) in &self.schemas {
            let path = data.join(file);
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
        self.schemas.contains(&SANDBOX)
    }

    /// Says what moments the next statements compare with.
    pub(super) async fn set_moment(&mut self, moment: &Moment) -> Result<(), VerifyError> {
        let failed = |source| VerifyError::Statement { what: "the present moment", source };
        sqlx::query("delete from moment").execute(&mut self.connection).await.map_err(failed)?;
        sqlx::query("insert into moment values (?1, ?2, ?3)")
            .bind(moment.quiet_since.as_micros())
            .bind(moment.stuck_since.as_micros())
            .bind(moment.kept_since.as_micros())
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(failed)
    }

    /// Asks SQLite whether the files are sound in themselves. It does not repeat what the schemas' `check` constraints
    /// say, since a connection that only reads does not know of them; the checks below judge more than those.
    pub(super) async fn soundness(&mut self, rows_max: usize) -> Result<Checked, VerifyError> {
        let (mut violations, mut violated) = (Vec::new(), 0);
        for (schema, file) in self.schemas.clone() {
            let sql = AssertSqlSafe(format!("pragma {schema}.quick_check"));
            let problems = match sqlx::query(sql).fetch_all(&mut self.connection).await {
                Ok(rows) => rows.iter().map(|row| row.get::<String, _>(0)).collect(),
                Err(sqlx::Error::Database(error)) => vec![error.message().to_owned()],
                Err(source) => return Err(VerifyError::Statement { what: SOUND, source }),
            };
            for problem in problems.into_iter().filter(|problem| problem != "ok") {
                violated += 1;
                if violations.len() < rows_max {
                    let columns = [("file", file.to_owned()), ("problem", problem)];
                    let columns = columns.map(|(name, text)| (name.to_owned(), Value::String(text)));
                    violations.push(Violation(columns.to_vec()));
                }
            }
        }
        let looked_at = u64::try_from(self.schemas.len()).unwrap_or(u64::MAX);
        Ok(Checked { id: "files", name: "files", title: SOUND, about: "files", looked_at, violated, violations })
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
