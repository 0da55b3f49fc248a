//! Databases, events and consumers of the tests here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rand::Rng;
use spillway_storage::{
    Committer, DataConfig, Rules, Store, StoreError,
    bus::{Consumer, Event, NotTaken},
    config::RedisConfig,
    database::{Database, DatabaseUrl, Schema},
    group_commit::{self, Limits},
    outbox as sqlite_outbox,
    postgres::{PgSession, outbox as pg_outbox},
    redis::Redis,
    sqlite::SqliteSession,
};
use spillway_testkit::servers;
use spillway_types::{EventId, SystemClock, Timestamp};

/// How long anything here may take before the test gives up; on two busy cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a suite runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// A service that only publishes, in a database of its own.
pub(crate) struct Publisher {
    pub(crate) database: Database,
    pub(crate) committer: Committer<Crier>,
    _directory: tempfile::TempDir,
}

/// A service whose commands are events.
#[derive(Debug)]
pub(crate) struct Crier;

/// Its store.
#[expect(clippy::large_enum_variant, reason = "there is one a test")]
enum CrierStore {
    Sqlite(SqliteSession),
    Postgres(PgSession),
}

const SCHEMA: Schema = Schema { file: "crier.db", sqlite: &[], postgres: &[] };

// === impl Backend ===

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// A database with the tables that every service has.
    pub(crate) async fn database(self) -> (Database, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = match self {
            Self::Sqlite => "sqlite:".to_owned(),
            Self::Postgres => servers::postgres().await.fresh("messages").await,
        };
        (open(&url, &DataConfig::in_directory(directory.path())).await, directory)
    }

    pub(crate) async fn publisher(self) -> Publisher {
        let (database, directory) = self.database().await;
        let committer = crier(&database).await;
        Publisher { database, committer, _directory: directory }
    }
}

pub(crate) async fn open(url: &str, data: &DataConfig) -> Database {
    let url: DatabaseUrl = url.parse().unwrap();
    Database::migrate(&url, data, &SCHEMA).await.unwrap();
    Database::open(&url, data, &SCHEMA).await.unwrap()
}

/// A publisher's write path.
pub(crate) async fn crier(database: &Database) -> Committer<Crier> {
    let limits = Limits { batch_max: 256, queue_max: 4_096 };
    let store = match database {
        Database::Sqlite(database) => CrierStore::Sqlite(database.session(Arc::new(SystemClock)).await.unwrap()),
        Database::Postgres(database) => CrierStore::Postgres(database.session()),
    };
    match store {
        CrierStore::Sqlite(session) => group_commit::spawn(SqliteStore(session), limits),
        CrierStore::Postgres(session) => group_commit::spawn(PgStore(session), limits),
    }
}

// === impl Publisher ===

impl Publisher {
    /// Commits events, all in one transaction or not.
    pub(crate) async fn say(&self, events: impl IntoIterator<Item = Event>) {
        let said = events.into_iter().map(|event| self.committer.submit(event));
        for said in futures_util::future::join_all(said).await {
            said.unwrap();
        }
    }
}

// === impl Crier ===

impl Rules for Crier {
    type Command = Event;
    type Answer = ();
    type Rows = Vec<Event>;

    fn decide(rows: &mut Vec<Event>, event: &Event, _: Timestamp) {
        rows.push(event.clone());
    }
}

struct SqliteStore(SqliteSession);

#[async_trait]
impl Store<Crier> for SqliteStore {
    type Session = SqliteSession;

    fn session(&mut self) -> &mut SqliteSession {
        &mut self.0
    }

    async fn load(&mut self, _: &[Event]) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    async fn save(&mut self, rows: &Vec<Event>) -> Result<(), StoreError> {
        sqlite_outbox::save(self.0.connection(), rows).await
    }
}

struct PgStore(PgSession);

#[async_trait]
impl Store<Crier> for PgStore {
    type Session = PgSession;

    fn session(&mut self) -> &mut PgSession {
        &mut self.0
    }

    async fn load(&mut self, _: &[Event]) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    async fn save(&mut self, rows: &Vec<Event>) -> Result<(), StoreError> {
        pg_outbox::save(self.0.connection()?, rows).await
    }
}

/// An event of its own identity.
pub(crate) fn event(topic: &str, key: &str, sequence: i64) -> Event {
    let (topic, key, payload) = (topic.to_owned(), key.to_owned(), r#"{"test":true}"#.to_owned());
    Event { event_id: EventId::random(), topic, key, sequence, occurred_at: Timestamp::from_micros(1), payload }
}

/// A topic that no other test has.
pub(crate) fn fresh_topic() -> &'static str {
    format!("test.{:016x}", rand::rng().random::<u64>()).leak()
}

/// A server by its URL.
pub(crate) fn redis(url: &str) -> Redis {
    let config = RedisConfig { url: url.to_owned(), password_file: "".into(), connections: 2, timeout_ms: 500 };
    Redis::new(&config).unwrap()
}

/// Asks until the answer is yes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, so).await.is_ok(), "still not so: {what}");
}

/// One number from a database.
pub(crate) async fn number(database: &Database, sql: &'static str) -> i64 {
    match database {
        Database::Sqlite(database) => sqlx::query_scalar(sql).fetch_one(database.readers()).await.unwrap(),
        Database::Postgres(database) => sqlx::query_scalar(sql).fetch_one(database.readers()).await.unwrap(),
    }
}

/// What happened to an ear's events.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Sequences in the order of their effects, by key. Each once: this is the inbox.
    pub(crate) effects: BTreeMap<String, Vec<i64>>,
    /// Events that were offered again after their effect.
    pub(crate) repeats: u32,
    /// Events that were not next: key, what would have been, and what came.
    pub(crate) disorder: Vec<(String, i64, i64)>,
    /// Sequences refused, by key, as often as they were.
    pub(crate) refusals: Vec<(String, i64)>,
}

/// What an ear does with an event that comes for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    IsDown,
    CannotTakeIt,
}

/// A consumer whose effects are in memory; replicas of it share them. What it takes twice or out of order fails the test.
pub(crate) struct Ear {
    name: &'static str,
    topics: &'static [&'static str],
    pub(crate) heard: Arc<Mutex<Heard>>,
    mood: Box<dyn Fn(&Event) -> Mood + Send + Sync>,
}

// === impl Ear ===

impl Ear {
    /// One that takes everything.
    pub(crate) fn on(topic: &'static str) -> Self {
        Self {
            name: format!("ear-of-{topic}").leak(),
            topics: vec![topic].leak(),
            heard: Arc::default(),
            mood: Box::new(|_| Mood::Takes),
        }
    }

    /// The same consumer in another process.
    pub(crate) fn replica(&self) -> Self {
        let heard = Arc::clone(&self.heard);
        Self { name: self.name, topics: self.topics, heard, mood: Box::new(|_| Mood::Takes) }
    }

    /// Another consumer of the same topics.
    pub(crate) fn other(&self) -> Self {
        Self { name: format!("other-{}", self.name).leak(), heard: Arc::default(), ..self.replica() }
    }

    #[must_use]
    pub(crate) fn in_mood(self, mood: impl Fn(&Event) -> Mood + Send + Sync + 'static) -> Self {
        Self { mood: Box::new(mood), ..self }
    }

    /// How many effects there were.
    pub(crate) fn count(&self) -> usize {
        self.heard.lock().unwrap().effects.values().map(Vec::len).sum()
    }

    /// Waits until every one of `keys` has had effects 1 to `last`, in order.
    pub(crate) async fn hears_all(&self, keys: &[String], last: i64) {
        let name = self.name;
        let has_all = || {
            let heard = self.heard.lock().unwrap();
            assert!(heard.disorder.is_empty(), "{name}: out of order: {:?}", heard.disorder);
            keys.iter().all(|key| heard.effects.get(key).is_some_and(|taken| taken.last() == Some(&last)))
        };
        until(&format!("{name} has heard all"), async || has_all()).await;
    }
}

#[async_trait]
impl Consumer for Ear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn topics(&self) -> &'static [&'static str] {
        self.topics
    }

    async fn take(&self, events: Vec<Event>) -> Result<(), NotTaken> {
        let mut heard = self.heard.lock().unwrap();
        let moods: Vec<_> = events.iter().map(|event| (self.mood)(event)).collect();
        if moods.contains(&Mood::IsDown) {
            return Err(NotTaken::for_now(self.name, "down"));
        }
        let known = |heard: &Heard, event: &Event| {
            heard.effects.get(&event.key).is_some_and(|taken| taken.contains(&event.sequence))
        };
        for (event, mood) in events.iter().zip(&moods) {
            if *mood == Mood::CannotTakeIt && !known(&heard, event) {
                heard.refusals.push((event.key.clone(), event.sequence));
                return Err(NotTaken::poison(self.name, format!("cannot take {} {}", event.key, event.sequence)));
            }
        }
        for event in events {
            if known(&heard, &event) {
                heard.repeats += 1;
                continue;
            }
            let taken = heard.effects.entry(event.key.clone()).or_default();
            let expected = taken.last().copied().unwrap_or_default() + 1;
            if event.sequence != expected {
                heard.disorder.push((event.key, expected, event.sequence));
                continue;
            }
            taken.push(event.sequence);
        }
        Ok(())
    }
}
