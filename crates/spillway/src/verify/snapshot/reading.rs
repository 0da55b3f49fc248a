//! One Postgres database, seen from inside a transaction that holds its snapshot.

use std::path::PathBuf;

use futures_util::TryStreamExt;
use spillway_storage::{
    DataConfig,
    database::DatabaseUrl,
    postgres::{Database, NOW},
};
use spillway_types::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::{
    Copied, VerifyError,
    copy::{Sink, Table},
};
use crate::verify::{
    mentioned,
    places::{Place, SANDBOX},
};

/// How long one table may take to be read, in milliseconds: a writer's limit is for batches, and this reads everything.
const READ_STATEMENT_MS: u32 = 600_000;

/// A statement of the transaction that sees one moment and changes nothing.
const BEGIN: &str = "begin transaction isolation level repeatable read, read only";

/// What the server itself knows to be unsound.
const UNSOUND: &str = "
    select 'index ' || c.relname || ' is not valid'
      from pg_index i
      join pg_class c on c.oid = i.indexrelid
     where c.relnamespace = current_schema()::regnamespace and not (i.indisvalid and i.indisready)
    union all
    select 'constraint ' || conname || ' of ' || conrelid::regclass || ' is not validated'
      from pg_constraint
     where connamespace = current_schema()::regnamespace and not convalidated";

const COLUMNS: &str = "
    select column_name::text, data_type::text
      from information_schema.columns
     where table_schema = current_schema() and table_name = $1";

/// A transaction with its snapshot.
pub(super) struct Reading<'a> {
    place: &'a Place,
    connection: PgConnection,
    as_of: Timestamp,
    unsound: Vec<String>,
}

// === impl Reading ===

impl<'a> Reading<'a> {
    /// Takes the snapshot of a Postgres database; nothing where the database is none, or is one to do without and is not
    /// there.
    pub(super) async fn begin(place: &'a Place, data: &DataConfig) -> Result<Option<Self>, VerifyError> {
        let DatabaseUrl::Postgres(options) = &place.url else { return Ok(None) };
        let failed = |source| VerifyError::Server { address: place.url.to_string(), source };
        let database = Database::open(options, &data.postgres).await.map_err(|error| unreachable(place, error))?;
        let mut connection = database.connect("verify").await.map_err(|error| unreachable(place, error))?;
        let limits = format!(
            "{BEGIN}; set local statement_timeout = {READ_STATEMENT_MS};
             set local idle_in_transaction_session_timeout = {READ_STATEMENT_MS}"
        );
        sqlx::raw_sql(AssertSqlSafe(limits)).execute(&mut connection).await.map_err(failed)?;
        // The first statement that reads takes the snapshot.
        let sql = AssertSqlSafe(format!("select {NOW}, current_schema() is not null"));
        let row = sqlx::query(sql).fetch_one(&mut connection).await.map_err(failed)?;
        if place.optional && !row.get::<bool, _>(1) {
            return Ok(None);
        }
        let unsound = sqlx::query_scalar(UNSOUND).fetch_all(&mut connection).await.map_err(failed)?;
        Ok(Some(Self { place, connection, as_of: Timestamp::from_micros(row.get(0)), unsound }))
    }

    pub(super) const fn place(&self) -> &'a Place {
        self.place
    }

    /// Copies what the checks look at into `file`.
    pub(super) async fn copy(mut self, file: PathBuf) -> Result<Copied, VerifyError> {
        let mut sink = Sink::create(&file, self.place.tables).await?;
        let mut rows = 0;
        for table in sink.tables().await? {
            if mentioned(self.place.schema, table.name()) {
                rows += self.copy_table(&mut sink, &table).await?;
            }
        }
        sink.close().await?;
        let schema = self.place.schema;
        let address = match schema {
            SANDBOX => format!("{} (the sandbox's books)", self.place.url),
            _ => self.place.url.to_string(),
        };
        Ok(Copied { schema, address, as_of: self.as_of, rows, unsound: self.unsound })
    }

    async fn copy_table(&mut self, sink: &mut Sink, table: &Table) -> Result<u64, VerifyError> {
        let failed = |source| VerifyError::Server { address: self.place.url.to_string(), source };
        let columns = sqlx::query(COLUMNS).bind(table.name()).fetch_all(&mut self.connection).await.map_err(failed)?;
        let columns: Vec<(String, String)> = columns.iter().map(|row| (row.get(0), row.get(1))).collect();
        if let Some(missing) = table.columns().find(|name| !columns.iter().any(|(known, _)| known == name)) {
            let what = format!("{}.{missing}", table.name());
            return Err(VerifyError::Lacks { address: self.place.url.to_string(), what });
        }
        let selected = table.columns().map(|name| {
            let kind = columns.iter().find(|(known, _)| known == name).map(|(_, kind)| kind.as_str());
            as_json(name, kind.unwrap_or_default())
        });
        let selected = selected.collect::<Vec<_>>().join(", ");
        let sql = AssertSqlSafe(format!("select json_build_array({selected})::text from \"{}\"", table.name()));
        sink.clear(table).await?;
        let mut rows = sqlx::query(sql).fetch(&mut self.connection);
        let (mut batch, mut count) = (table.batch(), 0);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            count += 1;
            if batch.push(row.get(0)) {
                sink.write(&mut batch).await?;
            }
        }
        sink.write(&mut batch).await?;
        Ok(count)
    }
}

/// A column as a value of JSON that SQLite's own functions read back as what its tables hold: a UUID as its text, a
/// document as text and not as a part of the row's.
fn as_json(column: &str, kind: &str) -> String {
    match kind {
        "bytea" => format!("encode(\"{column}\", 'hex')"),
        "json" | "jsonb" => format!("\"{column}\"::text"),
        _ => format!("\"{column}\""),
    }
}

fn unreachable(place: &Place, error: spillway_storage::StoreError) -> VerifyError {
    VerifyError::Unreachable { address: place.url.to_string(), source: Box::new(error) }
}
