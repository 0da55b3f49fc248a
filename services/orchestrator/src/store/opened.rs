//! The saga log, opened: the two ends of whichever database it is, and how its sagas are shared among replicas.

use std::{fmt, sync::Arc};

use spillway_runtime::process::Section;
use spillway_saga::Territory;
use spillway_storage::{
    Committer, Resources, StoreError,
    database::{Database, DatabaseUrl},
    group_commit::{self, Limits},
    metrics, postgres as server,
};

use super::{
    DurableLog, Reader, SCHEMA, SagaLog,
    postgres::{self, word::Listener},
    sqlite,
};
use crate::Config;

/// The saga log, opened; the writer runs.
pub struct Opened {
    /// The way to write.
    pub committer: Committer<SagaLog>,
    /// The way to read.
    pub reader: Arc<dyn Reader>,
    /// Which sagas this process may drive.
    pub territory: Territory,
    /// What it takes to share them with other replicas, where there can be any.
    pub shared: Option<Sharing>,
}

/// What replicas need of each other.
#[derive(Debug)]
pub struct Sharing {
    /// Where the leases are.
    pub database: server::Database,
    /// What hears of word that others left.
    pub listener: Listener,
}

/// Opens the log wherever `url` says it is, and starts the writer.
///
/// # Errors
/// When the database cannot be opened or its schema is not what it must be.
pub async fn open(url: &DatabaseUrl, limits: Limits, resources: &Resources) -> Result<Opened, StoreError> {
    let database = Database::open(url, &resources.data, &SCHEMA).await?;
    let opened = match database.clone() {
        Database::Sqlite(file) => {
            let (store, reader, epoch) = sqlite::ends(file, Arc::clone(&resources.clock)).await?;
            let committer = group_commit::spawn(store, limits);
            Opened { committer, reader: Arc::new(reader), territory: Territory::whole(epoch), shared: None }
        }
        Database::Postgres(database) => {
            let (store, reader, listener) = postgres::ends(&database);
            let (committer, shared) = (group_commit::spawn(store, limits), Some(Sharing { database, listener }));
            Opened { committer, reader: Arc::new(reader), territory: Territory::leased(), shared }
        }
    };
    metrics::show(Config::NAME, &opened.committer, &database);
    Ok(opened)
}

// === impl Opened ===

impl Opened {
    /// The log over both ends.
    pub fn log(&self) -> DurableLog {
        DurableLog::new(self.committer.clone(), Arc::clone(&self.reader))
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("shared", &self.shared).finish_non_exhaustive()
    }
}
