//! Where the suite's orders are kept, and the shops that are opened there.

use std::{net::SocketAddr, sync::Arc};

use spillway_storage::{
    Committer, Resources,
    config::RedisConfig,
    database::{Database, DatabaseUrl},
    group_commit::Limits,
    redis::Redis,
};
use spillway_testkit::servers;
use spillway_types::{Fault, ManualClock, OrderId};
use sqlx::Row;
use tempfile::TempDir;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    domain::{Answer, Command, Move, News, Order, tests::NOON},
    store::{
        self, Opened, Orders, Reader, TOPIC_STATE_CHANGED, cache::Feed, event, hub::Hub, lookup::Lookup,
        postgres::hints::Teller,
    },
};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// A database of a test's own. Says which kind it is when the test fails.
pub(crate) struct House {
    backend: Backend,
    url: DatabaseUrl,
    resources: Resources,
    _directory: TempDir,
}

/// Orders, opened: one replica of the service, without its wire.
pub(crate) struct Shop {
    pub(crate) database: Database,
    pub(crate) committer: Committer<Orders>,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) lookup: Lookup,
    pub(crate) hub: Hub,
    pub(crate) hints: Option<Teller>,
    pub(crate) feed: Option<Feed>,
    _stop: DropGuard,
}

// === impl House ===

impl House {
    /// One house of each kind, one after the other.
    pub(crate) fn each() -> impl Iterator<Item = impl Future<Output = Self>> {
        [Backend::Sqlite, Backend::Postgres].into_iter().map(Self::new)
    }

    pub(crate) async fn new(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::at("sqlite:"),
            Backend::Postgres => Self::at(&servers::postgres().await.fresh("order").await),
        }
    }

    pub(crate) fn at(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let resources = Resources::in_directory(directory.path()).with_clock(Arc::new(ManualClock::at(NOON)));
        let url: DatabaseUrl = url.parse().unwrap();
        let backend = if matches!(url, DatabaseUrl::Sqlite(_)) { Backend::Sqlite } else { Backend::Postgres };
        Self { backend, url, resources, _directory: directory }
    }

    /// With a Redis at `url` beside it.
    pub(crate) async fn with_redis(mut self, url: &str) -> Self {
        let redis = Redis::new(&RedisConfig { url: url.to_owned(), ..self.resources.data.redis.clone() }).unwrap();
        redis.up().await;
        self.resources.redis = Some(redis);
        self
    }

    /// Where its server listens, and its whole URL.
    pub(crate) fn server(&self) -> (SocketAddr, String) {
        let DatabaseUrl::Postgres(options) = &self.url else { panic!("a file has no server") };
        let address = format!("{}:{}", options.get_host(), options.get_port()).parse().unwrap();
        (address, self.url.to_string())
    }

    /// The Redis beside it.
    pub(crate) fn redis(&self) -> &Redis {
        self.resources.redis.as_ref().unwrap()
    }

    /// Opens the orders. A file has one writer at a time, a server as many as want to.
    pub(crate) async fn open(&self) -> Shop {
        let (hub, limits) = (Hub::new(100), Limits { batch_max: 64, queue_max: 1_024 });
        let opened = store::open(&self.url, limits, &self.resources, &hub).await.unwrap();
        let Opened { database, committer, reader, lookup, hints, feed, workers } = opened;
        let stop = CancellationToken::new();
        workers.spawn(&TaskTracker::new(), &stop);
        Shop { database, committer, reader, lookup, hub, hints, feed, _stop: stop.drop_guard() }
    }

    /// A connection of somebody who is not the service.
    pub(crate) async fn meddler(&self) -> Meddler {
        match &self.url {
            DatabaseUrl::Sqlite(_) => {
                let path = self.url.file(&self.resources.data, &store::SCHEMA);
                Meddler::Sqlite(sqlx::SqlitePool::connect(&format!("sqlite:{}", path.display())).await.unwrap())
            }
            DatabaseUrl::Postgres(options) => {
                let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1);
                Meddler::Postgres(pool.connect_with((**options).clone()).await.unwrap())
            }
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was {:?}, {}", self.backend, self.url);
        }
    }
}

/// Somebody who is not the service.
pub(crate) enum Meddler {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

// === impl Meddler ===

impl Meddler {
    pub(crate) async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(pool) => sqlx::query(sql).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::query(sql).execute(pool).await.map(drop),
        }
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        }
    }
}

// === impl Shop ===

impl Shop {
    pub(crate) async fn ask(&self, command: Command) -> Result<Order, Fault> {
        match self.committer.submit(command).await.unwrap()? {
            Answer::Order(order) => Ok(*order),
            Answer::Followed(_) => panic!("an order was asked for"),
        }
    }

    pub(crate) async fn follow(&self, news: Vec<News>) -> usize {
        match self.committer.submit(Command::Follow(news)).await.unwrap() {
            Ok(Answer::Followed(unused)) => unused.len(),
            other => panic!("{other:?}"),
        }
    }

    /// The moves of an order, by trail and by outbox, which must agree.
    pub(crate) async fn moves(&self, order_id: OrderId) -> Vec<(i64, Move)> {
        let trail = self.reader.entries(order_id, 0, 100).await.unwrap();
        let told: Vec<_> = trail.iter().map(|entry| (entry.version, event(entry).payload)).collect();
        assert_eq!(self.published(order_id).await, told, "the outbox tells the audit trail");
        trail.into_iter().map(|entry| (entry.version, entry.step)).collect()
    }

    async fn published(&self, order_id: OrderId) -> Vec<(i64, String)> {
        let sql = "select sequence, payload from outbox where topic = $1 and key = $2 order by position";
        let key = order_id.to_string();
        match &self.database {
            Database::Sqlite(file) => {
                let rows = sqlx::query(sql).bind(TOPIC_STATE_CHANGED).bind(key).fetch_all(file.readers()).await;
                rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
            }
            Database::Postgres(server) => {
                let rows = sqlx::query(sql).bind(TOPIC_STATE_CHANGED).bind(key).fetch_all(server.readers()).await;
                rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
            }
        }
    }
}
