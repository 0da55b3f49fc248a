//! What every bus promises, on each of them: the same body.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use spillway_storage::{
    bus::{Bus, Consumer, InProcessBus, Letterbox, RedisBus, letterbox::LetterCount},
    database::Database,
    outbox::Relay,
};
use spillway_testkit::servers;
use tokio_util::sync::CancellationToken;

use crate::common::{Backend, Ear, Mood, Publisher, event, fresh_topic, number, redis, until};

/// A publisher and a consumer's database, with a bus between them.
pub(crate) struct Wire {
    pub(crate) topic: &'static str,
    pub(crate) publisher: Publisher,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) letterbox: Arc<dyn Letterbox>,
    pub(crate) consumers: Database,
    _directory: tempfile::TempDir,
    stop: CancellationToken,
}

// === impl Wire ===

impl Wire {
    pub(crate) async fn new(backend: Backend, bus: Arc<dyn Bus>) -> Self {
        let (consumers, directory) = backend.database().await;
        let (publisher, letterbox) = (backend.publisher().await, consumers.letterbox());
        let (topic, stop) = (fresh_topic(), CancellationToken::new());
        Self { topic, publisher, bus, letterbox, consumers, _directory: directory, stop }
    }

    pub(crate) fn subscribe(&self, ear: Ear) -> Arc<Ear> {
        let ear = Arc::new(ear);
        self.bus.subscribe(Arc::clone(&ear) as Arc<dyn Consumer>, Arc::clone(&self.letterbox));
        ear
    }

    pub(crate) fn relay(&self) {
        let relay = Relay::new(&self.publisher.database, self.publisher.committer.clone());
        tokio::spawn(relay.run(Arc::clone(&self.bus), self.stop.clone()));
    }

    /// Commits events `sequences` of every key, a transaction or so each.
    pub(crate) async fn say(&self, keys: &[String], sequences: std::ops::RangeInclusive<i64>) {
        for sequence in sequences {
            self.publisher.say(keys.iter().map(|key| event(self.topic, key, sequence))).await;
        }
    }

    pub(crate) async fn all_published(&self) {
        let sql = "select count(*) from outbox where published_at is null";
        until("everything is published", async || number(&self.publisher.database, sql).await == 0).await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key {n}")).collect()
}

/// Runs a suite on every bus.
async fn on_each(suite: impl AsyncFn(Wire)) {
    println!("in process, on SQLite");
    suite(Wire::new(Backend::Sqlite, Arc::new(InProcessBus::default())).await).await;
    for backend in Backend::ALL {
        println!("over Redis, on {backend:?}");
        let redis = redis(&servers::redis().await);
        redis.up().await;
        suite(Wire::new(backend, Arc::new(RedisBus::new(redis))).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_consumer_takes_every_event_in_order() {
    on_each(async |wire| {
        let keys = keys(200);
        wire.say(&keys, 1..=2).await;
        let one = wire.subscribe(Ear::on(wire.topic));
        let other = wire.subscribe(one.other());
        wire.relay();
        wire.say(&keys, 3..=6).await;
        one.hears_all(&keys, 6).await;
        other.hears_all(&keys, 6).await;
        wire.all_published().await;
        let letters = wire.letterbox.count().await.unwrap();
        assert_eq!((one.count(), other.count(), letters), (1_200, 1_200, LetterCount::default()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_consumer_that_is_down_and_nobody_waits_with_them() {
    on_each(async |wire| {
        let (is_down, refused) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let mood = {
            let (is_down, refused) = (Arc::clone(&is_down), Arc::clone(&refused));
            move |_: &_| {
                if is_down.load(Ordering::SeqCst) {
                    refused.fetch_add(1, Ordering::SeqCst);
                    return Mood::IsDown;
                }
                Mood::Takes
            }
        };
        let down = wire.subscribe(Ear::on(wire.topic).in_mood(mood));
        let well = wire.subscribe(down.other());
        wire.relay();
        let keys = keys(20);
        wire.say(&keys, 1..=3).await;
        well.hears_all(&keys, 3).await;
        until("the one that is down was asked more than an event's attempts", async || {
            refused.load(Ordering::SeqCst) > 8
        })
        .await;
        assert_eq!((down.count(), wire.letterbox.count().await.unwrap()), (0, LetterCount::default()));
        is_down.store(false, Ordering::SeqCst);
        down.hears_all(&keys, 3).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_taken_is_put_aside_and_holds_up_its_lane_only() {
    on_each(async |wire| {
        let is_broken = Arc::new(AtomicBool::new(true));
        let mood = {
            let is_broken = Arc::clone(&is_broken);
            move |event: &spillway_storage::bus::Event| {
                let is_bad = event.key.ends_with('7') && event.sequence == 2;
                if is_bad && is_broken.load(Ordering::SeqCst) { Mood::CannotTakeIt } else { Mood::Takes }
            }
        };
        let ear = wire.subscribe(Ear::on(wire.topic).in_mood(mood));
        wire.relay();
        let (bad, good): (Vec<_>, Vec<_>) = keys(30).into_iter().partition(|key| key.ends_with('7'));
        let all: Vec<_> = good.iter().chain(&bad).cloned().collect();
        wire.say(&all, 1..=3).await;
        ear.hears_all(&good, 3).await;
        let count = async || wire.letterbox.count().await.unwrap();
        until("each bad lane has one dead letter and one behind it", async || {
            count().await == LetterCount { dead: 3, held: 3 }
        })
        .await;
        wire.say(&all, 4..=4).await;
        ear.hears_all(&good, 4).await;
        until("what comes later waits too", async || count().await == LetterCount { dead: 3, held: 6 }).await;
        ear.hears_all(&bad, 1).await;
        let dead = wire.letterbox.list("", None, 10).await.unwrap();
        for letter in &dead {
            assert_eq!((letter.letter.event.sequence, letter.letter.attempts), (2, 5), "{letter:?}");
        }

        // Replayed while it is still broken, it only fails again; given up, its lane goes on.
        let consumer = dead[0].consumer.as_str();
        assert_eq!(wire.letterbox.replay(consumer, &[dead[0].letter.event.event_id]).await.unwrap(), 1);
        until("it is dead again", async || {
            let again = wire.letterbox.list("", None, 10).await.unwrap();
            again.iter().any(|letter| letter.letter.attempts == 10)
        })
        .await;
        is_broken.store(false, Ordering::SeqCst);
        assert_eq!(wire.letterbox.replay(consumer, &[]).await.unwrap(), 3);
        ear.hears_all(&bad, 4).await;
        until("no letter is left", async || count().await == LetterCount::default()).await;
        wire.say(&all, 5..=5).await;
        ear.hears_all(&all, 5).await;
        // Attempts at each while it was among others, then by itself.
        assert!(ear.heard.lock().unwrap().refusals.len() >= 3 * 5 + 5);
    })
    .await;
}
