//! The file that rows are copied into: the service's own SQLite schema, without what would refuse rows that are wrong,
//! since to find those is what it is for.

use std::path::{Path, PathBuf};

use spillway_storage::{StoreError, database::Schema, sqlite};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::VerifyError;

/// Rows in one statement: enough that the statement itself costs nothing.
const BATCH_ROWS: usize = 1_000;
/// A batch is written when it has become this long, whatever the rows: sagas carry their journal.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Tries at making the file. Who opens one for callers gives up after a quarter of a second; nobody is in such a hurry
/// here, and five files at once on a busy machine can take longer.
const TRIES_MAX: u32 = 20;

const TRIGGERS: &str = "select name from sqlite_schema where type = 'trigger'";
const TABLES: &str = "
    select t.name, c.name, c.type
      from sqlite_schema t, pragma_table_info(t.name) c
     where t.type = 'table' and t.name not like 'sqlite%' and t.name not like '\\_sqlx%' escape '\\'
     order by t.name, c.cid";

/// The file.
pub(super) struct Sink {
    file: PathBuf,
    connection: SqliteConnection,
}

/// A table of the file.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    /// Names and declared types.
    columns: Vec<(String, String)>,
}

/// Rows on their way into a table, as one JSON document.
pub(super) struct Batch {
    insert: String,
    document: String,
    rows: usize,
}

// === impl Sink ===

impl Sink {
    /// Makes the file, with the tables of `schema` and nothing in them.
    pub(super) async fn create(file: &Path, schema: &Schema) -> Result<Self, VerifyError> {
        make(file, schema).await?;
        let failed = |source| VerifyError::Open { path: file.to_owned(), source };
        let mut connection = SqliteConnectOptions::new()
            .filename(file)
            .foreign_keys(false)
            .pragma("ignore_check_constraints", "on")
            // Should it be lost, there is another where it comes from.
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .disable_statement_logging()
            .connect()
            .await
            .map_err(failed)?;
        let triggers: Vec<String> = sqlx::query_scalar(TRIGGERS).fetch_all(&mut connection).await.map_err(failed)?;
        let drops: String = triggers.iter().map(|name| format!("drop trigger \"{name}\"; ")).collect();
        let sql = AssertSqlSafe(format!("{drops} begin"));
        sqlx::raw_sql(sql).execute(&mut connection).await.map_err(failed)?;
        Ok(Self { file: file.to_owned(), connection })
    }

    /// Its tables.
    pub(super) async fn tables(&mut self) -> Result<Vec<Table>, VerifyError> {
        let rows = sqlx::query(TABLES).fetch_all(&mut self.connection).await.map_err(self.failed())?;
        let mut tables: Vec<Table> = Vec::new();
        for row in rows {
            let (name, column) = (row.get::<String, _>(0), (row.get(1), row.get(2)));
            match tables.last_mut().filter(|table| table.name == name) {
                Some(table) => table.columns.push(column),
                None => tables.push(Table { name, columns: vec![column] }),
            }
        }
        Ok(tables)
    }

    /// Empties a table of what its migrations have put into it: that comes with the copy.
    pub(super) async fn clear(&mut self, table: &Table) -> Result<(), VerifyError> {
        let failed = self.failed();
        let sql = AssertSqlSafe(format!("delete from \"{}\"", table.name));
        sqlx::query(sql).execute(&mut self.connection).await.map(drop).map_err(failed)
    }

    /// Writes a batch, and empties it.
    pub(super) async fn write(&mut self, batch: &mut Batch) -> Result<(), VerifyError> {
        let (insert, document) = batch.take();
        let failed = self.failed();
        let written = sqlx::query(AssertSqlSafe(insert)).bind(document).execute(&mut self.connection).await;
        written.map(drop).map_err(failed)
    }

    /// Ends writing.
    pub(super) async fn close(mut self) -> Result<(), VerifyError> {
        let failed = self.failed();
        sqlx::raw_sql("commit").execute(&mut self.connection).await.map_err(&failed)?;
        self.connection.close().await.map_err(failed)
    }

    fn failed(&self) -> impl Fn(sqlx::Error) -> VerifyError + 'static + use<> {
        let path = self.file.clone();
        move |source| VerifyError::Open { path: path.clone(), source }
    }
}

/// Makes the file with its tables, and leaves it closed.
async fn make(file: &Path, schema: &Schema) -> Result<(), VerifyError> {
    let mut tries = 1;
    loop {
        match sqlite::Database::open(file, schema.sqlite).await {
            Ok(made) => {
                made.readers().close().await;
                return Ok(());
            }
            Err(StoreError::Exhausted) if tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(VerifyError::Template(Box::new(error))),
        }
    }
}

// === impl Table ===

impl Table {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// An empty batch for it.
    pub(super) fn batch(&self) -> Batch {
        let names: Vec<_> = self.columns().map(|name| format!("\"{name}\"")).collect();
        let values = self.columns.iter().enumerate().map(|(index, (_, kind))| match kind.as_str() {
            "BLOB" => format!("unhex(value ->> {index})"),
            _ => format!("value ->> {index}"),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let (name, names) = (&self.name, names.join(", "));
        let insert = format!("insert into \"{name}\" ({names}) select {values} from json_each(?1)");
        Batch { insert, document: String::from("["), rows: 0 }
    }
}

// === impl Batch ===

impl Batch {
    /// Adds a row, a JSON array; says whether the batch is to be written now.
    pub(super) fn push(&mut self, row: &str) -> bool {
        if self.rows > 0 {
            self.document.push(',');
        }
        self.document.push_str(row);
        self.rows += 1;
        self.rows >= BATCH_ROWS || self.document.len() >= BATCH_BYTES
    }

    fn take(&mut self) -> (String, String) {
        self.document.push(']');
        self.rows = 0;
        (self.insert.clone(), std::mem::replace(&mut self.document, String::from("[")))
    }
}
