//! Where the sandbox keeps its books. It plays a company elsewhere, so they are its own: a file in SQLite, a schema of
//! its own in Postgres, in which the sandboxes of all replicas are that one company.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use spillway_storage::{
    Committer, Resources, StoreError,
    database::{Database, DatabaseUrl, Schema},
    group_commit::{self, Limits},
    postgres::Database as PgDatabase,
};

use super::journal::{Charge, Deed, Journal};
use crate::SANDBOX_DATABASE;

mod postgres;
mod sqlite;

/// The sandbox's tables, as each kind of database has them.
pub const SCHEMA: Schema = Schema { file: SANDBOX_DATABASE, sqlite: sqlite::STEPS, postgres: postgres::STEPS };

/// Makes room for them in Postgres. The address leads there by its search path.
const MAKE_ROOM: &str = "create schema if not exists sandbox";

/// What can be read beside the writer.
#[async_trait]
pub(super) trait Books: fmt::Debug + Send + Sync + 'static {
    /// A charge.
    async fn charge(&self, reference: &str) -> Result<Option<Charge>, StoreError>;
    /// Whether a payback of a charge was done.
    async fn is_paid_back(&self, charge: &str, reference: &str) -> Result<bool, StoreError>;
    /// How much of a charge was given back, in minor units.
    async fn paid_back(&self, charge: &str) -> Result<i64, StoreError>;
}

/// Opens the books, and starts the writer.
pub(super) async fn open(
    url: &DatabaseUrl,
    limits: Limits,
    resources: &Resources,
) -> Result<(Committer<Journal>, Arc<dyn Books>), StoreError> {
    match url {
        DatabaseUrl::Sqlite(_) => {
            let (file, clock) = (url.file(&resources.data, &SCHEMA), Arc::clone(&resources.clock));
            let (store, books) = sqlite::open(&file, clock).await?;
            Ok((group_commit::spawn(store, limits), Arc::new(books)))
        }
        DatabaseUrl::Postgres(options) => {
            if resources.data.postgres.migrate_at_start {
                migrate(url, resources).await?;
            }
            let database = PgDatabase::open(options, &resources.data.postgres).await?;
            let store = postgres::PgStore::new(&database);
            Ok((group_commit::spawn(store, limits), Arc::new(postgres::PgBooks::new(database))))
        }
    }
}

/// Brings the schema up to date, and nothing else.
pub(super) async fn migrate(url: &DatabaseUrl, resources: &Resources) -> Result<(), StoreError> {
    if let DatabaseUrl::Postgres(options) = url {
        let database = PgDatabase::open(options, &resources.data.postgres).await?;
        let mut connection = database.connect("sandbox").await?;
        let made = sqlx::raw_sql(MAKE_ROOM).execute(&mut connection).await;
        match made.map_err(StoreError::database("making room for the sandbox's books")) {
            // Another replica has just made it.
            Ok(_) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Database::migrate(url, &resources.data, &SCHEMA).await
}

/// The keys that a batch needs.
#[derive(Default)]
struct Wanted<'a> {
    charges: BTreeSet<&'a str>,
    /// Charges of which all paybacks are needed.
    paid_back: BTreeSet<&'a str>,
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    fn by(deeds: &'a [Deed]) -> Self {
        let mut wanted = Self::default();
        for deed in deeds {
            match deed {
                Deed::Authorize { reference, .. } | Deed::Capture { reference, .. } | Deed::Void { reference, .. } => {
                    wanted.charges.insert(reference);
                }
                Deed::PayBack { charge, .. } => {
                    wanted.charges.insert(charge);
                    wanted.paid_back.insert(charge);
                }
            }
        }
        wanted
    }
}
