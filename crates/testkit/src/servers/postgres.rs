//! Postgres, and fresh databases in it.

use std::{net::SocketAddr, path::Path};

use rand::Rng;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{private::Private, unusable};

/// What names of test databases begin with, before the id of the process that made them.
const PREFIX: &str = "t";
/// Postgres cuts names off beyond 63 bytes; the rest is prefix, process and chance.
const NAME_MAX: usize = 36;

/// A Postgres server in which tests make databases.
#[derive(Clone, Debug)]
pub struct Postgres {
    url: String,
}

/// A Postgres server that one test may kill, freeze and restart. Dropped, it ends and is removed; also when the test's
/// process dies.
#[derive(Debug)]
pub struct PrivatePostgres {
    private: Private,
    postgres: Postgres,
}

// === impl Postgres ===

impl Postgres {
    pub(super) const fn new(url: String) -> Self {
        Self { url }
    }

    /// Starts a server of the test's own.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn private() -> PrivatePostgres {
        let private = Private::start("postgres").await;
        let postgres = Self::new(private.url().to_owned());
        PrivatePostgres { private, postgres }
    }

    /// The URL of its maintenance database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a new, empty database. `name` says in lists whose it is.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn fresh(&self, name: &str) -> String {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(NAME_MAX).collect();
        let process = std::process::id();
        let database = format!("{PREFIX}{process}_{}_{:08x}", name.to_ascii_lowercase(), rand::rng().random::<u32>());
        self.execute(&format!("create database {database}")).await;
        let (server, _) =
            self.url.rsplit_once('/').unwrap_or_else(|| unusable(&format!("no database in {}", self.url)));
        format!("{server}/{database}")
    }

    /// Drops the databases of processes that are gone, which nobody else would do.
    pub(super) async fn drop_orphans(&self) {
        let mut connection = self.connect().await;
        let databases: Vec<String> =
            sqlx::query_scalar("select datname::text from pg_database where not datistemplate")
                .fetch_all(&mut connection)
                .await
                .unwrap_or_else(|error| unusable(&format!("{}: {error}", self.url)));
        for database in databases.iter().filter(|name| is_orphan(name)) {
            // Another process may be dropping it at this moment, and then needs no help.
            let drop = format!("drop database if exists {database} with (force)");
            if let Err(error) = connection.execute(AssertSqlSafe(drop)).await
                && error.as_database_error().is_none()
            {
                unusable(&format!("{}: {error}", self.url));
            }
        }
    }

    async fn execute(&self, statement: &str) {
        let mut connection = self.connect().await;
        if let Err(error) = connection.execute(AssertSqlSafe(statement)).await {
            unusable(&format!("{statement}: {error}"));
        }
        // It has done its work; whether the server hears of its end is nothing to a test.
        drop(connection.close().await);
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap_or_else(|error| unusable(&format!("{}: {error}", self.url)))
    }
}

fn is_orphan(database: &str) -> bool {
    let process = database.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')?.0.parse::<u32>().ok());
    process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists())
}

// === impl PrivatePostgres ===

impl PrivatePostgres {
    /// As [`Postgres::fresh`].
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn fresh(&self, name: &str) -> String {
        self.postgres.fresh(name).await
    }

    /// The URL of its maintenance database.
    pub fn url(&self) -> &str {
        self.postgres.url()
    }

    /// Where it listens, for a proxy in front of it.
    pub const fn address(&self) -> SocketAddr {
        self.private.address()
    }

    /// Kills the server and all its sessions at once, as a power cut would (SIGKILL).
    ///
    /// # Panics
    /// When it is not running, or the system does not let us.
    pub async fn kill(&self) {
        self.private.kill().await;
    }

    /// Starts it on the same port, with the same data: waits until it has recovered.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.private.restart().await;
    }

    /// Stops the server and all its sessions (SIGSTOP): connections stay open, and nothing answers.
    ///
    /// # Panics
    /// When it is not running, or the system does not let us.
    pub async fn freeze(&self) {
        self.private.freeze().await;
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    /// When it is not running, or the system does not let us.
    pub async fn thaw(&self) {
        self.private.thaw().await;
    }
}
