//! Outboxes and relays: nothing is missed, whatever order transactions commit in and whoever dies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway_storage::{
    bus::{Bus, Consumer, Event, Lane, Letterbox, NotPublished},
    database::Database,
    outbox::{Marking, Relay},
    postgres,
};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::common::{Backend, event, number, until};

/// A bus that writes down what it is given, after a random moment.
struct Scribe {
    published: Mutex<Vec<(String, i64)>>,
    rng: Mutex<StdRng>,
    pause_max: Duration,
    /// How often it takes a batch and never comes back, as a relay that dies then.
    deaths: AtomicU32,
}

// === impl Scribe ===

impl Scribe {
    fn new(seed: u64, pause_max: Duration, deaths: u32) -> Arc<Self> {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self { published: Mutex::default(), rng, pause_max, deaths: AtomicU32::new(deaths) })
    }

    /// First publications, by key.
    fn firsts(&self) -> BTreeMap<String, Vec<i64>> {
        let mut firsts = BTreeMap::<String, Vec<i64>>::new();
        for (key, sequence) in self.published.lock().unwrap().iter() {
            let sequences = firsts.entry(key.clone()).or_default();
            if !sequences.contains(sequence) {
                sequences.push(*sequence);
            }
        }
        firsts
    }
}

#[async_trait]
impl Bus for Scribe {
    fn subscribe(&self, _: Arc<dyn Consumer>, _: Arc<dyn Letterbox>) {}

    async fn publish(&self, events: &[Event]) -> Result<String, NotPublished> {
        let pause = self.pause_max.mul_f64(self.rng.lock().unwrap().random_range(0.0..1.0));
        tokio::time::sleep(pause).await;
        for event in events {
            self.published.lock().unwrap().push((event.key.clone(), event.sequence));
        }
        if self.deaths.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            std::future::pending::<()>().await;
        }
        Ok(String::new())
    }
}

fn assert_complete(scribe: &Scribe, keys: usize, last: i64) {
    let firsts = scribe.firsts();
    assert_eq!(firsts.len(), keys, "lanes that were published");
    for (key, sequences) in firsts {
        assert_eq!(sequences, (1..=last).collect::<Vec<_>>(), "{key}");
    }
}

const UNPUBLISHED: &str = "select count(*) from outbox where published_at is null";

fn server(database: &Database) -> &postgres::Database {
    let Database::Postgres(database) = database else { panic!("{database:?} is no server") };
    database
}

async fn insert(connection: &mut PgConnection, event: &Event) {
    postgres::outbox::save(connection, std::slice::from_ref(event)).await.unwrap();
}

#[tokio::test]
async fn what_commits_late_below_what_was_published_is_published() {
    let publisher = Backend::Postgres.publisher().await;
    let scribe = Scribe::new(1, Duration::ZERO, 0);
    let stop = CancellationToken::new();
    let relay = Relay::new(&publisher.database, publisher.committer.clone());
    let bus: Arc<dyn Bus> = scribe.clone();
    let relay = tokio::spawn(relay.run(bus, stop.clone()));

    // The early one takes the lower position and commits last, after the relay has been past it.
    let mut early = server(&publisher.database).connect("early").await.unwrap();
    let mut late = server(&publisher.database).connect("late").await.unwrap();
    for connection in [&mut early, &mut late] {
        let patient = sqlx::raw_sql("set idle_in_transaction_session_timeout to 0").execute(connection).await;
        patient.unwrap();
    }
    let mut first = early.begin().await.unwrap();
    insert(&mut first, &event("t", "early", 1)).await;
    let mut second = late.begin().await.unwrap();
    insert(&mut second, &event("t", "late", 1)).await;
    second.commit().await.unwrap();
    until("the late one is published", async || scribe.firsts().contains_key("late")).await;
    assert!(!scribe.firsts().contains_key("early"));
    first.commit().await.unwrap();
    until("the early one is published", async || scribe.firsts().contains_key("early")).await;
    until("both are marked", async || number(&publisher.database, UNPUBLISHED).await == 0).await;
    let early_below_late = "select count(*) from outbox e join outbox l on e.key = 'early' and l.key = 'late'
                             where e.position < l.position";
    assert_eq!(number(&publisher.database, early_below_late).await, 1, "the order of the test is as it says");
    stop.cancel();
    relay.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn four_relays_with_random_delays_publish_everything_in_order_and_one_of_them_may_die() {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let (keys, last) = (60, 12);
    let publisher = Backend::Postgres.publisher().await;
    // One publication is never marked: its relay hangs for ever, and the claim lapses.
    let scribe = Scribe::new(seed, Duration::from_millis(30), 1);
    let stop = CancellationToken::new();
    let relays: Vec<_> = (0..4)
        .map(|_| {
            let relay = Relay::new(&publisher.database, publisher.committer.clone());
            let bus: Arc<dyn Bus> = scribe.clone();
            tokio::spawn(relay.run(bus, stop.clone()))
        })
        .collect();
    let mut rng = StdRng::seed_from_u64(seed);
    for sequence in 1..=last {
        publisher.say((0..keys).map(|key| event("t", &format!("key {key}"), sequence))).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..20))).await;
    }
    until("everything is marked", async || number(&publisher.database, UNPUBLISHED).await == 0).await;
    assert_complete(&scribe, keys, last);
    assert_eq!(scribe.deaths.load(Ordering::SeqCst), 0, "a relay died");
    let (published, total) = (scribe.published.lock().unwrap().len(), keys * usize::try_from(last).unwrap());
    println!("{published} publications of {total} events");
    assert!(published > total, "what the dead relay had claimed was published again");
    stop.cancel();
    let hanging = relays.iter().filter(|relay| !relay.is_finished()).count();
    for relay in relays {
        relay.abort();
    }
    assert!(hanging >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_between_publication_and_mark_only_repeats() {
    for backend in Backend::ALL {
        println!("on {backend:?}");
        let publisher = backend.publisher().await;
        let scribe = Scribe::new(1, Duration::ZERO, 1);
        publisher.say((1..=5).map(|sequence| event("t", "a", sequence))).await;
        let run = || {
            let relay = Relay::new(&publisher.database, publisher.committer.clone());
            let bus: Arc<dyn Bus> = scribe.clone();
            tokio::spawn(relay.run(bus, CancellationToken::new()))
        };
        let killed = run();
        until("it is published", async || scribe.published.lock().unwrap().len() == 5).await;
        killed.abort();
        assert_eq!(number(&publisher.database, UNPUBLISHED).await, 5, "none is marked");
        let heir = run();
        until("everything is marked", async || number(&publisher.database, UNPUBLISHED).await == 0).await;
        assert_eq!(scribe.published.lock().unwrap().len(), 10);
        assert_complete(&scribe, 1, 5);
        heir.abort();
    }
}

#[tokio::test]
async fn a_row_is_claimed_with_all_that_wait_before_it_or_not_at_all() {
    let publisher = Backend::Postgres.publisher().await;
    let (one, other) = (publisher.database.outbox(), publisher.database.outbox());
    publisher.say((1..=3).map(|sequence| event("t", "a", sequence))).await;
    let claim = one.claim().await.unwrap();
    assert_eq!(claim.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    publisher.say([event("t", "a", 4), event("t", "b", 1)]).await;
    let second = other.claim().await.unwrap();
    assert_eq!(second.events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>(), ["b"], "a/4 waits for a/1");
    other.release(&claim).await.unwrap();
    assert_eq!(one.mark(&claim, "").await.unwrap(), Marking::Done(0), "given back is given back");
    let third = other.claim().await.unwrap();
    assert_eq!(third.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(one.mark(&claim, "").await.unwrap(), Marking::Done(0), "a slow relay marks nothing of another's");
    assert_eq!(other.mark(&third, "").await.unwrap(), Marking::Done(4));
    assert_eq!(one.mark(&second, "").await.unwrap(), Marking::Done(1));
    assert_eq!(one.claim().await.unwrap().events, []);
}

#[tokio::test]
async fn a_restarted_stream_publishes_again_from_its_watermark_and_older_claims_mark_nothing() {
    for backend in Backend::ALL {
        println!("on {backend:?}");
        let publisher = backend.publisher().await;
        let outbox = publisher.database.outbox();
        outbox.enrol("t").await.unwrap();
        outbox.enrol("t").await.unwrap();
        let stream = || async { outbox.streams().await.unwrap().remove(0) };
        outbox.restart(&stream().await, "first").await.unwrap();
        let publish = async |key: &str, history: &str| {
            publisher.say([event("t", key, 1)]).await;
            let claim = outbox.claim().await.unwrap();
            assert_eq!(claim.events.len(), 1, "{key}");
            if let Marking::ByWriter(positions) = outbox.mark(&claim, history).await.unwrap() {
                publisher.committer.mark_published(positions).await.unwrap();
            }
            until("it is marked", async || number(&publisher.database, UNPUBLISHED).await == 0).await;
        };
        publish("old", "first").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let watermark = outbox.now().await.unwrap();
        outbox.advance(&stream().await, watermark).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        publish("new", "first").await;

        publisher.say([event("t", "open", 1)]).await;
        let open = outbox.claim().await.unwrap();
        let before = stream().await;
        outbox.restart(&before, "second").await.unwrap();
        outbox.restart(&before, "third").await.unwrap();
        assert_eq!(
            (stream().await.history.as_str(), stream().await.watermark),
            ("second", watermark),
            "the first wins"
        );
        for history in ["first", "second"] {
            assert_eq!(outbox.mark(&open, history).await.unwrap(), Marking::Done(0), "{history}");
        }
        let again = outbox.claim().await.unwrap();
        assert_eq!(again.events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>(), ["new", "open"]);
        assert_eq!(outbox.mark(&again, "first").await.unwrap(), Marking::Done(0), "published into data that are gone");
        assert_ne!(outbox.mark(&again, "second").await.unwrap(), Marking::Done(0));
        let lane = Lane { topic: "t".to_owned(), key: "old".to_owned() };
        assert_eq!(outbox.read(&lane, 1..=9).await.unwrap().len(), 1, "what was published can be read again");
    }
}
