//! A service's own database, whichever kind the configuration names.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use serde::Deserialize;
use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
    postgres::PgConnectOptions,
};

use crate::{
    DataConfig, StoreError,
    bus::{Letterbox, letterbox},
    outbox::{self, Outbox},
    postgres, sqlite,
};

/// Where a service's database is: `sqlite:` (a file of the service's name in the data directory), `sqlite:path`, or
/// `postgres://user@host:port/database`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub enum DatabaseUrl {
    /// A file; relative to the data directory, and the service's default when empty.
    Sqlite(PathBuf),
    /// A database of a Postgres server.
    Postgres(Box<PgConnectOptions>),
}

/// A migration: its number, what it is about, and its SQL.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Order of application. The tables that every service has come first and, where they change later, from 1001 on.
    pub version: i64,
    /// What it brings, in a few words.
    pub name: &'static str,
    /// The statements. Never edited once landed.
    pub sql: &'static str,
}

/// What a service's tables are, for each kind of database: the same history, told twice.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The name of the service's SQLite file.
    pub file: &'static str,
    /// Migrations of SQLite, numbered from 2.
    pub sqlite: &'static [Step],
    /// Migrations of Postgres, numbered alike.
    pub postgres: &'static [Step],
}

/// An opened database.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file.
    Sqlite(sqlite::Database),
    /// A database of a Postgres server.
    Postgres(postgres::Database),
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be sqlite:, sqlite:path or postgres://user@host:port/database{0}")]
pub struct BadUrl(String);

// === impl Database ===

impl Database {
    /// Opens a database. A file is made if need be, and its schema brought up to date; a server's schema is brought up to
    /// date if the configuration says so.
    ///
    /// # Errors
    /// When it cannot be opened, or its schema is not what it must be.
    pub async fn open(url: &DatabaseUrl, data: &DataConfig, schema: &Schema) -> Result<Self, StoreError> {
        match url {
            DatabaseUrl::Sqlite(_) => {
                let path = url.file(data, schema);
                sqlite::Database::open(&path, schema.sqlite).await.map(Self::Sqlite)
            }
            DatabaseUrl::Postgres(options) => {
                let database = postgres::Database::open(options, &data.postgres).await?;
                if data.postgres.migrate_at_start {
                    database.migrate(schema.postgres).await?;
                }
                Ok(Self::Postgres(database))
            }
        }
    }

    /// Brings a database's schema up to date, and nothing else.
    ///
    /// # Errors
    /// When it cannot be opened, or a migration fails or was edited after it had been applied.
    pub async fn migrate(url: &DatabaseUrl, data: &DataConfig, schema: &Schema) -> Result<(), StoreError> {
        match url {
            DatabaseUrl::Sqlite(_) => Self::open(url, data, schema).await.map(drop),
            DatabaseUrl::Postgres(options) => {
                postgres::Database::open(options, &data.postgres).await?.migrate(schema.postgres).await
            }
        }
    }

    /// How many connections for reading there are, and how many of them have nothing to do.
    pub fn reading_connections(&self) -> (u64, u64) {
        let (all, idle) = match self {
            Self::Sqlite(database) => (database.readers().size(), database.readers().num_idle()),
            Self::Postgres(database) => (database.readers().size(), database.readers().num_idle()),
        };
        (all.into(), u64::try_from(idle).unwrap_or(u64::MAX))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not, within the readers' wait.
    pub async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.check().await,
            Self::Postgres(database) => database.check().await,
        }
    }

    /// The relay's side of its outbox.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        outbox::of(self)
    }

    /// Where its consumers put aside what they cannot take.
    pub fn letterbox(&self) -> Arc<dyn Letterbox> {
        letterbox::of(self)
    }
}

/// Everything that a database must have been through: what all services share, then the service's own.
pub(crate) fn migrator(shared: &[Step], own: &[Step]) -> Migrator {
    let mut migrations: Vec<_> = shared
        .iter()
        .chain(own)
        .map(|step| {
            let sql = sqlx::AssertSqlSafe(step.sql).into_sql_str();
            Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
        })
        .collect();
    migrations.sort_by_key(|migration| migration.version);
    Migrator::with_migrations(migrations)
}

// === impl DatabaseUrl ===

impl DatabaseUrl {
    /// Where the service's file is; the default's place for an address that is no file.
    pub fn file(&self, data: &DataConfig, schema: &Schema) -> PathBuf {
        match self {
            Self::Sqlite(path) if !path.as_os_str().is_empty() => data.dir.join(path),
            Self::Sqlite(_) | Self::Postgres(_) => data.dir.join(schema.file),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            let options = text.parse().map_err(|error| BadUrl(format!(" ({error})")))?;
            return Ok(Self::Postgres(Box::new(options)));
        }
        Err(BadUrl(String::new()))
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = BadUrl;

    fn try_from(text: String) -> Result<Self, BadUrl> {
        text.parse()
    }
}

impl fmt::Display for DatabaseUrl {
    /// Without the password, which has no place in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(options) => {
                let (user, host, port) = (options.get_username(), options.get_host(), options.get_port());
                write!(f, "postgres://{user}@{host}:{port}/{}", options.get_database().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for DatabaseUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_kind_and_never_shows_its_password() {
        for (text, shown) in [
            ("sqlite:", "sqlite:"),
            ("sqlite:elsewhere.db", "sqlite:elsewhere.db"),
            ("postgres://shop:secret@db:5433/orders", "postgres://shop@db:5433/orders"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
        for wrong in ["", "mysql://db/orders", "orders.db", "postgres://db:port/orders"] {
            assert!(wrong.parse::<DatabaseUrl>().is_err(), "{wrong}");
        }
    }
}
