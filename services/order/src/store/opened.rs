//! Orders, opened: the two ends of whichever database it is, and what carries news of commits from one to the other.

use std::{fmt, sync::Arc};

use spillway_storage::{
    Committer, Resources, StoreError,
    database::{Database, DatabaseUrl},
    group_commit::{self, Limits},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Orders, Reader, SCHEMA,
    announcing::Audience,
    cache::{self, Feed, Filler},
    hub::Hub,
    lookup::Lookup,
    postgres::{
        self,
        hints::{self, Hints, Teller},
    },
    sqlite,
};

/// Orders, opened: the writer runs; the workers wait to be spawned.
pub struct Opened {
    /// Where they are.
    pub database: Database,
    /// The way to write.
    pub committer: Committer<Orders>,
    /// The way to read.
    pub reader: Arc<dyn Reader>,
    /// The way to read one order, whether or not the database answers.
    pub lookup: Lookup,
    /// What other replicas are told of commits, where there can be any.
    pub hints: Option<Teller>,
    /// What the read cache is told of commits, if there is one.
    pub feed: Option<Feed>,
    /// What carries news of commits out of the writer.
    pub workers: Workers,
}

/// What runs beside the writer so that it waits for nobody.
#[derive(Debug)]
pub struct Workers {
    hints: Option<Hints>,
    filler: Option<Filler>,
}

/// Opens orders wherever `url` says they are, and starts the writer. Followers in `hub` hear of what it commits.
///
/// # Errors
/// When the database cannot be opened or its schema is not what it must be.
pub async fn open(url: &DatabaseUrl, limits: Limits, resources: &Resources, hub: &Hub) -> Result<Opened, StoreError> {
    let database = Database::open(url, &resources.data, &SCHEMA).await?;
    let (cache, feed, filler) = match resources.redis.clone().map(cache::open) {
        Some((cache, feed, filler)) => (Some(cache), Some(feed), Some(filler)),
        None => (None, None, None),
    };
    let mut audience = Audience { hub: hub.clone(), replicas: None, cache: feed.clone() };
    let (mut hints, mut carrier) = (None, None);
    let (committer, reader): (_, Arc<dyn Reader>) = match &database {
        Database::Sqlite(file) => {
            let (store, reader) = sqlite::ends(file, Arc::clone(&resources.clock), audience).await?;
            (group_commit::spawn(store, limits), Arc::new(reader))
        }
        Database::Postgres(server) => {
            let (teller, worker) = hints::open(server.clone(), hub.clone());
            (audience.replicas, hints, carrier) = (Some(teller.clone()), Some(teller), Some(worker));
            let (store, reader) = postgres::ends(server, audience);
            (group_commit::spawn(store, limits), Arc::new(reader))
        }
    };
    let lookup = Lookup::new(Arc::clone(&reader), cache);
    let workers = Workers { hints: carrier, filler };
    Ok(Opened { database, committer, reader, lookup, hints, feed, workers })
}

// === impl Opened ===

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("database", &self.database).finish_non_exhaustive()
    }
}

// === impl Workers ===

impl Workers {
    /// Starts them, to run until `stop`.
    pub fn spawn(self, tracker: &TaskTracker, stop: &CancellationToken) {
        if let Some(hints) = self.hints {
            tracker.spawn(hints.run(stop.clone()));
        }
        if let Some(filler) = self.filler {
            tracker.spawn(filler.run(stop.clone()));
        }
    }
}
