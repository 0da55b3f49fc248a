//! Storage against a real SQLite file: events that outlive crashes, records that are forgotten in time, one writer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it did"
)]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use spillway_storage::{
    Committer, Rules, Session, Store, StoreError,
    bus::{Bus, Consumer, Event, InProcessBus, NotTaken},
    database::Database as AnyDatabase,
    group_commit::{self, Limits},
    idempotency::{self, Key, Records},
    outbox::{self, Relay},
    sqlite::{Database, SqliteSession},
};
use spillway_types::{EventId, Fingerprint, ManualClock, RequestId, Timestamp};
use tokio_util::sync::CancellationToken;

/// A service that does nothing but say so: each command is one event and one idempotency record.
#[derive(Debug)]
struct Crier;

#[derive(Debug, Default)]
struct Rows {
    events: Vec<Event>,
    records: Records,
}

impl Rules for Crier {
    type Command = (String, i64, RequestId);
    type Answer = bool;
    type Rows = Rows;

    fn decide(rows: &mut Rows, (key, sequence, request_id): &Self::Command, now: Timestamp) -> bool {
        let (record, print) = (record(*request_id), Fingerprint::of(key));
        if idempotency::replay::<bool>(&rows.records, &record, &print).unwrap().is_some() {
            return false;
        }
        idempotency::remember(&mut rows.records, record, print, &true, now);
        rows.events.push(Event {
            event_id: EventId::random(),
            topic: "cry".to_owned(),
            key: key.clone(),
            sequence: *sequence,
            occurred_at: now,
            payload: "{}".to_owned(),
        });
        true
    }
}

fn record(request_id: RequestId) -> Key {
    Key { scope: "Cry".to_owned(), request_id }
}

struct CrierStore(SqliteSession);

#[async_trait]
impl Store<Crier> for CrierStore {
    type Session = SqliteSession;

    fn session(&mut self) -> &mut Self::Session {
        &mut self.0
    }

    async fn load(&mut self, commands: &[(String, i64, RequestId)]) -> Result<Rows, StoreError> {
        let keys = commands.iter().map(|(_, _, request_id)| record(*request_id)).collect();
        let records = idempotency::load(self.0.connection(), keys).await?;
        Ok(Rows { records, events: Vec::new() })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        idempotency::save(self.0.connection(), &rows.records).await?;
        outbox::save(self.0.connection(), &rows.events).await
    }
}

async fn open(path: &Path, clock: &ManualClock) -> (Database, Committer<Crier>) {
    let database = Database::open(path, &[]).await.unwrap();
    let session = database.session(Arc::new(clock.clone())).await.unwrap();
    let committer = group_commit::spawn(CrierStore(session), Limits { batch_max: 64, queue_max: 256 });
    (database, committer)
}

/// Takes events, but fails the first few times, as a consumer whose database is down would.
struct Listener {
    heard: Mutex<Vec<(String, i64)>>,
    failures: AtomicU32,
}

#[async_trait]
impl Consumer for Listener {
    fn name(&self) -> &'static str {
        "listener"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["cry"]
    }

    async fn take(&self, events: Vec<Event>) -> Result<(), NotTaken> {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(NotTaken::for_now("listener", "not now"));
        }
        self.heard.lock().unwrap().extend(events.into_iter().map(|event| (event.key, event.sequence)));
        Ok(())
    }
}

async fn count(database: &Database, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(database.readers()).await.unwrap()
}

/// Asks until `sql` counts nothing.
async fn until_none(database: &Database, sql: &'static str) {
    let emptied = async {
        while count(database, sql).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), emptied).await.expect("it is not emptied");
}

#[tokio::test]
async fn events_reach_consumers_in_order_after_failures_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (path, clock) = (directory.path().join("crier.db"), ManualClock::default());
    let (_, committer) = open(&path, &clock).await;
    for sequence in 1..=3 {
        committer.submit(("early".to_owned(), sequence, RequestId::random())).await.unwrap();
    }
    drop(committer);

    // Nobody had published them when the process ended.
    let (database, committer) = open(&path, &clock).await;
    let listener = Arc::new(Listener { heard: Mutex::default(), failures: AtomicU32::new(3) });
    let bus = Arc::new(InProcessBus::default());
    bus.subscribe(Arc::clone(&listener) as Arc<dyn Consumer>, AnyDatabase::Sqlite(database.clone()).letterbox());
    let stop = CancellationToken::new();
    let relay = Relay::new(&AnyDatabase::Sqlite(database.clone()), committer.clone());
    let relay = tokio::spawn(relay.run(bus, stop.clone()));
    for sequence in 1..=600 {
        committer.submit(("late".to_owned(), sequence, RequestId::random())).await.unwrap();
    }
    until_none(&database, "select count(*) from outbox where published_at is null").await;
    stop.cancel();
    relay.await.unwrap();
    let mut heard = listener.heard.lock().unwrap().clone();
    let expected = (1..=3).map(|n| ("early".to_owned(), n)).chain((1..=600).map(|n| ("late".to_owned(), n)));
    assert_eq!(listener.failures.load(Ordering::SeqCst), 0, "the consumer's trouble has come");
    heard.dedup();
    assert_eq!(heard, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_has_one_writer_and_the_next_one_waits_for_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (path, clock) = (directory.path().join("crier.db"), ManualClock::default());
    let (database, committer) = open(&path, &clock).await;
    let second = database.session(Arc::new(clock.clone()));
    let ending = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(committer);
    };
    let (second, ()) = tokio::join!(second, ending);
    let _holds_the_lock = second.unwrap();
    let third = database.session(Arc::new(clock)).await;
    assert!(matches!(&third, Err(StoreError::Unfit(why)) if why.contains("another process")), "{third:?}");
}

#[tokio::test]
async fn records_are_kept_for_thirty_days_and_then_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_micros(1));
    let database = Database::open(&directory.path().join("crier.db"), &[]).await.unwrap();
    let mut store = CrierStore(database.session(Arc::new(clock.clone())).await.unwrap());
    let days = [0_u64, 29, 31];
    let mut kept = Vec::new();
    for day in days {
        let mut rows = Rows::default();
        let now = Timestamp::from_micros(1).saturating_add(Duration::from_secs(day * 86_400));
        Crier::decide(&mut rows, &("key".to_owned(), i64::try_from(day + 1).unwrap(), RequestId::random()), now);
        store.session().begin().await.unwrap();
        store.save(&rows).await.unwrap();
        store.session().forget_records(now).await.unwrap();
        store.session().commit().await.unwrap();
        kept.push(count(&database, "select count(*) from idempotency").await);
    }
    assert_eq!(kept, [1, 2, 2], "the first is forgotten on day 31");
}
