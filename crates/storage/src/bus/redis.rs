//! The bus of many processes: streams in Redis.
//!
//! ```text
//!   outbox ── relay ──► 16 streams a topic ──► a group a consumer ──► whichever replica reads ──► inbox, cursor ──► ack
//!      ▲  ▲                                        │ a gap in a lane?
//!      │  └───────────── refill requests ◄─────────┘
//!      └── other data than before (restart, failover, FLUSHALL)? publish again what came after the watermark
//! ```
//!
//! Redis may lose, repeat and disorder what it was given; no event is skipped or taken out of order for that:
//! - a consumer takes event n + 1 of a lane only when its own database says that n was taken (or put aside). Whatever is
//!   too early waits in memory, unacknowledged; if what is missing does not come, the publisher is asked for it;
//! - a publisher knows up to which moment all groups have acknowledged everything (the watermark), and in which data it
//!   measured that. As soon as the data is another, everything since the watermark is unpublished again;
//! - streams are trimmed only of what every group has acknowledged. When one grows beyond its limit all the same, the relay
//!   holds back and the events wait in their outbox: nothing that a group has not read is ever trimmed.
//!
//! It needs a Redis that evicts nothing (`maxmemory-policy noeviction`): entries that are evicted leave no trace.
//!
//! A group begins at the start of its streams. A consumer that joins later, when they have been trimmed, gets the earlier
//! events of each lane with its next one. A group whose service is gone for good has to be destroyed by hand.
//!
//! | module | holds |
//! |---|---|
//! | [`stream`] | names of keys, entries, the commands |
//! | [`attendant`] | the publisher's side: watermarks, trimming, refills |
//! | [`intake`] | the consumer's side: reading, claiming what a dead replica left, acknowledging |
//! | [`waiting`] | entries that were read and not yet acknowledged, lane by lane |

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{Bus, Consumer, Event, Letterbox, NotPublished, delivery::Delivery};
use crate::{
    outbox::Outbox,
    redis::{History, Redis, RedisError, pipe},
};

mod attendant;
mod intake;
mod stream;
mod waiting;

/// Entries in one stream before no more are added: at some hundred bytes each, the streams of a topic then take 100 to
/// 200 MB. Only a group that does not read lets it come to this.
const LENGTH_MAX: u64 = 20_000;
/// How long a closing bus waits for what is being taken; a consumer takes a batch in a fraction of a second.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// The bus over Redis. Cheap to clone; the last clone ends the consumers' reading.
#[derive(Clone)]
pub struct RedisBus {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
}

struct Stop {
    token: CancellationToken,
    readers: TaskTracker,
    _with_us: DropGuard,
}

struct Shared {
    redis: Redis,
    /// This process among the members of its groups.
    member: String,
    letterboxes: Mutex<Vec<(&'static str, Arc<dyn Letterbox>)>>,
    /// How long streams were that attendants looked at.
    lengths: Mutex<BTreeMap<String, u64>>,
    /// The data that the latest publication went to.
    history: Mutex<Option<History>>,
    /// Wakes attendants when that is another.
    news: Notify,
    counters: Counters,
}

/// What went wrong and was put right, since the start.
#[derive(Debug, Default)]
struct Counters {
    refills: AtomicU64,
    restarts: AtomicU64,
    takeovers: AtomicU64,
    unreadable: AtomicU64,
}

/// What went wrong and was put right, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Times that a consumer asked for events which did not come.
    pub refills: u64,
    /// Times that a topic was published again because Redis had other data than before.
    pub restarts: u64,
    /// Entries taken over from a replica that did not acknowledge them.
    pub takeovers: u64,
    /// Entries that were no events.
    pub unreadable: u64,
}

// === impl RedisBus ===

impl RedisBus {
    /// A bus over `redis`.
    pub fn new(redis: Redis) -> Self {
        let token = CancellationToken::new();
        let stop = Stop { _with_us: token.clone().drop_guard(), readers: TaskTracker::new(), token };
        let shared = Shared {
            redis,
            member: format!("{:032x}", rand::random::<u128>()),
            letterboxes: Mutex::default(),
            lengths: Mutex::default(),
            history: Mutex::default(),
            news: Notify::new(),
            counters: Counters::default(),
        };
        Self { shared: Arc::new(shared), stop: Arc::new(stop) }
    }

    /// What went wrong and was put right, since the start.
    pub fn repairs(&self) -> Repairs {
        self.shared.repairs()
    }

    /// Reads later on what went wrong, and how many events lie in the streams that this process looks after; without
    /// keeping the bus alive.
    pub fn reading(&self) -> impl Fn() -> (Repairs, u64) + Clone + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            let lengths = shared.lengths.lock().unwrap_or_else(PoisonError::into_inner);
            (shared.repairs(), lengths.values().sum())
        }
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn subscribe(&self, consumer: Arc<dyn Consumer>, letterbox: Arc<dyn Letterbox>) {
        let delivery = Arc::new(Delivery::new(consumer, letterbox));
        self.shared.letterboxes.lock().unwrap_or_else(PoisonError::into_inner).push(delivery.letterbox());
        let stop = self.stop.token.clone();
        self.stop.readers.spawn(Arc::clone(&delivery).replay_until(stop.clone()));
        self.stop.readers.spawn(intake::run(Arc::clone(&self.shared), delivery, stop));
    }

    async fn publish(&self, events: &[Event]) -> Result<String, NotPublished> {
        let history = self.shared.publish(events).await?;
        Ok(history.as_str().to_owned())
    }

    async fn enrol(&self, outbox: &dyn Outbox, topic: &str) -> Result<(), NotPublished> {
        outbox.enrol(topic).await.map_err(|error| NotPublished(error.to_string()))?;
        attendant::enrol(&self.shared, outbox, topic).await.map_err(|error| NotPublished(error.to_string()))
    }

    async fn attend(&self, outbox: Arc<dyn Outbox>, stop: CancellationToken) {
        attendant::run(&self.shared, &*outbox, stop).await;
    }

    fn backlog(&self) -> u64 {
        self.shared.lengths.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    async fn close(&self) {
        self.stop.token.cancel();
        self.stop.readers.close();
        if tokio::time::timeout(CLOSE_MAX, self.stop.readers.wait()).await.is_err() {
            tracing::warn!("consumers did not end in time; others take over what they had");
        }
    }

    fn letterboxes(&self) -> Vec<(&'static str, Arc<dyn Letterbox>)> {
        self.shared.letterboxes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_up(&self) -> bool {
        self.shared.redis.is_up()
    }

    fn check(&self) -> Result<(), String> {
        self.shared.redis.check().map_err(|error| format!("{error}; events wait in their outboxes"))?;
        let full = self.shared.full().collect::<Vec<_>>();
        if full.is_empty() { Ok(()) } else { Err(format!("streams that nobody reads are full: {full:?}")) }
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").field("redis", &self.shared.redis).field("repairs", &self.repairs()).finish()
    }
}

// === impl Shared ===

impl Shared {
    fn repairs(&self) -> Repairs {
        let counters = &self.counters;
        Repairs {
            refills: counters.refills.load(Ordering::Relaxed),
            restarts: counters.restarts.load(Ordering::Relaxed),
            takeovers: counters.takeovers.load(Ordering::Relaxed),
            unreadable: counters.unreadable.load(Ordering::Relaxed),
        }
    }

    /// Adds events to their streams, and says which data they went to.
    async fn publish(&self, events: &[Event]) -> Result<History, NotPublished> {
        let mut streams = BTreeMap::<String, Vec<&Event>>::new();
        for event in events {
            streams.entry(stream::of(event)).or_default().push(event);
        }
        if let Some(full) = self.full().find(|stream| streams.contains_key(stream)) {
            return Err(NotPublished(format!("{full} is full of events that nobody reads")));
        }
        let mut pipeline = pipe();
        for (stream, events) in &streams {
            for event in events {
                stream::add(&mut pipeline, stream, event).map_err(|error| NotPublished(error.to_string()))?;
            }
        }
        // On the same connection and behind them, so that it is the data which has them.
        let answer = self.redis.with_history("publishing events", pipeline).await;
        let history = answer.map_err(|error: RedisError| NotPublished(error.to_string()))?;
        let mut latest = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.as_ref() != Some(&history) {
            *latest = Some(history.clone());
            self.news.notify_waiters();
        }
        Ok(history)
    }

    /// Streams that have reached their limit.
    fn full(&self) -> impl Iterator<Item = String> {
        let lengths = self.lengths.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lengths.into_iter().filter(|(_, length)| *length >= LENGTH_MAX).map(|(stream, _)| stream)
    }

    fn note_length(&self, stream: &str, length: u64) {
        let before = self.lengths.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.to_owned(), length);
        match (before.unwrap_or_default() >= LENGTH_MAX, length >= LENGTH_MAX) {
            (false, true) => tracing::error!(stream, length, "a group does not read; events wait in their outbox"),
            (true, false) => tracing::info!(stream, length, "stream has room again"),
            (true, true) | (false, false) => {}
        }
    }
}
