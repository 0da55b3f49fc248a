//! The consumer's side: reads streams as a member of the consumer's group, delivers, acknowledges.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use deadpool_redis::redis::{
    aio::MultiplexedConnection,
    streams::{StreamAutoClaimReply, StreamInfoConsumersReply, StreamReadReply},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    stream::{self, Entry},
    waiting::{self, Place, Waiting},
};
use crate::{
    bus::delivery::Delivery,
    redis::{RedisError, cmd, pipe},
};

/// Events delivered in one go: enough to amortise the consumer's commit, small enough to keep its latency low.
const BATCH_MAX: usize = 512;
/// Entries read from each stream at a time; sixteen streams make two batches.
const READ_MAX: usize = 64;
/// Most entries that wait for those before them, a few MB. What comes beyond is let go of unacknowledged and read again.
const WAITING_MAX: usize = 8_192;
/// How long a read waits for new entries.
const BLOCK: Duration = Duration::from_millis(500);
/// The same while there are gaps, which are looked at again after each read. Most are filled within a moment.
const BLOCK_IN_GAP: Duration = Duration::from_millis(20);
/// After so long without an entry, gaps are no longer looked at that often.
const GAP_IS_OLD: Duration = Duration::from_secs(2);
/// How often entries are looked for that another member read and did not acknowledge.
const TAKEOVER_INTERVAL: Duration = Duration::from_secs(1);
/// After which time such an entry is taken over. A replica that lives acknowledges within a fraction of a second; one that
/// was only slow does no harm, since the inbox takes each event once.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// How long a member that left nothing behind is kept in its group.
const MEMBER_IDLE_MAX: Duration = Duration::from_secs(3_600);
/// First pause after trouble; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause: a database or Redis that is back is used again within this time.
const PAUSE_MAX: Duration = Duration::from_secs(1);

struct Intake {
    shared: Arc<Shared>,
    delivery: Arc<Delivery>,
    streams: Vec<String>,
    /// The connection for blocking reads, once the groups are known to exist.
    connection: Option<MultiplexedConnection>,
    waiting: Waiting,
    /// Entries to acknowledge.
    done: VecDeque<Place>,
    takeover_at: Instant,
    /// Where in each stream to look on.
    takeover_from: Vec<String>,
    sweep_at: Instant,
    /// When the latest entry came.
    fed_at: Instant,
}

/// Runs until `stop`; what is being delivered then is finished first.
pub(super) async fn run(shared: Arc<Shared>, delivery: Arc<Delivery>, stop: CancellationToken) {
    let streams: Vec<_> = delivery.topics().iter().flat_map(|topic| stream::all(topic)).collect();
    let mut intake = Intake {
        shared,
        delivery,
        takeover_from: vec!["0-0".to_owned(); streams.len()],
        streams,
        connection: None,
        waiting: Waiting::default(),
        done: VecDeque::new(),
        takeover_at: Instant::now(),
        sweep_at: Instant::now() + MEMBER_IDLE_MAX,
        fed_at: Instant::now(),
    };
    let (mut pause, mut troubled) = (PAUSE_MIN, false);
    while !stop.is_cancelled() {
        let trouble = intake.round().await.err();
        if trouble.is_some() != troubled {
            troubled = trouble.is_some();
            let consumer = intake.delivery.name();
            match &trouble {
                Some(problem) => tracing::warn!(consumer, problem, "events are not consumed; they wait"),
                None => tracing::info!(consumer, "events are consumed again"),
            }
        }
        if trouble.is_some() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        } else {
            pause = PAUSE_MIN;
        }
    }
    // What the last read brought; nobody else gets it before it has been idle for a while.
    if let Err(problem) = intake.hand_in().await {
        tracing::warn!(consumer = intake.delivery.name(), problem, "events left to others");
    }
}

// === impl Intake ===

impl Intake {
    /// Delivers what can be delivered, then reads more.
    async fn round(&mut self) -> Result<(), String> {
        self.hand_in().await?;
        let entries = self.read().await.map_err(|error| error.to_string())?;
        self.take_in(entries);
        if Instant::now() >= self.takeover_at {
            let entries = self.take_over().await.map_err(|error| error.to_string())?;
            self.shared.counters.takeovers.fetch_add(u64::try_from(entries.len()).unwrap_or(0), Ordering::Relaxed);
            self.take_in(entries);
            self.takeover_at = Instant::now() + TAKEOVER_INTERVAL;
        }
        if Instant::now() >= self.sweep_at {
            self.sweep().await.map_err(|error| error.to_string())?;
            self.sweep_at = Instant::now() + MEMBER_IDLE_MAX;
        }
        Ok(())
    }

    /// Delivers and acknowledges what was read.
    async fn hand_in(&mut self) -> Result<(), String> {
        self.deliver().await?;
        self.acknowledge().await.map_err(|error| error.to_string())
    }

    fn take_in(&mut self, entries: Vec<Entry>) {
        let (events, unreadable) = waiting::sort(entries);
        self.shared.counters.unreadable.fetch_add(u64::try_from(unreadable.len()).unwrap_or(0), Ordering::Relaxed);
        self.done.extend(unreadable);
        if !events.is_empty() {
            self.fed_at = Instant::now();
        }
        for (event, place) in events {
            self.waiting.add(event, place);
        }
    }

    /// Delivers until only gaps are left, and asks for what is missing in them.
    async fn deliver(&mut self) -> Result<(), String> {
        while self.waiting.len() > 0 {
            let standings = self.delivery.standings(&self.waiting.lanes()).await.map_err(|error| error.to_string())?;
            let plan = self.waiting.plan(&standings, BATCH_MAX, Instant::now());
            let count = plan.ready.len();
            if count > 0 {
                self.delivery.deliver(plan.ready, plan.blocked).await.map_err(|error| error.to_string())?;
                let moved = |(lane, taken): &(_, _)| standings.get(lane).is_none_or(|was| was.taken < *taken);
                let moved: BTreeMap<_, _> = plan.taken.clone().into_iter().filter(moved).collect();
                self.delivery.advance(&moved).await.map_err(|error| error.to_string())?;
            }
            self.done.extend(self.waiting.done(&plan.taken));
            if !plan.missing.is_empty() {
                self.ask_for(&plan.missing).await?;
            }
            if count == 0 {
                self.waiting.shrink(WAITING_MAX);
                break;
            }
        }
        Ok(())
    }

    /// Asks the publishers for events that did not come.
    async fn ask_for(&self, missing: &[(crate::bus::Lane, i64, i64)]) -> Result<(), String> {
        let mut pipeline = pipe();
        for (lane, from, to) in missing {
            let (consumer, topic, key) = (self.delivery.name(), &lane.topic, &lane.key);
            tracing::debug!(consumer, topic, key, from, to, "events are missing; asking the publisher");
            let request = stream::request(lane, *from, *to).map_err(|error| error.to_string())?;
            stream::ask(&mut pipeline, topic, request);
        }
        self.shared.counters.refills.fetch_add(u64::try_from(missing.len()).unwrap_or(0), Ordering::Relaxed);
        let asked = self.shared.redis.pipeline::<()>("asking for events", &pipeline).await;
        asked.map_err(|error| error.to_string())
    }

    async fn acknowledge(&mut self) -> Result<(), RedisError> {
        while !self.done.is_empty() {
            let mut streams = BTreeMap::<&str, Vec<String>>::new();
            for (stream, id) in self.done.iter().take(BATCH_MAX) {
                streams.entry(stream).or_default().push(id.to_string());
            }
            let mut pipeline = pipe();
            for (stream, ids) in streams {
                pipeline.cmd("XACK").arg(stream).arg(self.delivery.name()).arg(ids).ignore();
            }
            self.shared.redis.pipeline::<()>("acknowledging events", &pipeline).await?;
            self.done.drain(..self.done.len().min(BATCH_MAX));
        }
        Ok(())
    }

    /// New entries, after a while none.
    async fn read(&mut self) -> Result<Vec<Entry>, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.join().await?,
        };
        let is_gap_young = self.waiting.len() > 0 && self.fed_at.elapsed() < GAP_IS_OLD;
        let block = if is_gap_young { BLOCK_IN_GAP } else { BLOCK };
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(self.delivery.name()).arg(&self.shared.member);
        read.arg("COUNT").arg(READ_MAX).arg("BLOCK").arg(block.as_millis().to_string());
        read.arg("STREAMS").arg(&self.streams).arg(vec![">"; self.streams.len()]);
        let reply: Option<StreamReadReply> = read
            .query_async(&mut connection)
            .await
            .map_err(|source| self.shared.redis.failed("reading events", source))?;
        // Put back only now: a connection on which a read failed or was given up is not used again.
        self.connection = Some(connection);
        Ok(reply.map(stream::read).unwrap_or_default())
    }

    /// A new connection; and groups on all streams, which FLUSHALL takes away.
    async fn join(&self) -> Result<MultiplexedConnection, RedisError> {
        let connection = self.shared.redis.dedicated(BLOCK).await?;
        for stream in &self.streams {
            let mut create = cmd("XGROUP");
            create.arg("CREATE").arg(stream).arg(self.delivery.name()).arg("0").arg("MKSTREAM");
            match self.shared.redis.query::<()>("joining the group", &create).await {
                Err(RedisError::Failed { source, .. }) if source.code() == Some("BUSYGROUP") => {}
                joined => joined?,
            }
        }
        Ok(connection)
    }

    /// Forgets members that have been silent for long and left nothing behind. Each process is a member of its own.
    async fn sweep(&self) -> Result<(), RedisError> {
        for stream in &self.streams {
            let members = cmd("XINFO").arg("CONSUMERS").arg(stream).arg(self.delivery.name()).clone();
            let members: StreamInfoConsumersReply = self.shared.redis.query("looking at members", &members).await?;
            for member in members.consumers {
                if member.pending == 0
                    && member.idle > usize::try_from(MEMBER_IDLE_MAX.as_millis()).unwrap_or(usize::MAX)
                {
                    let mut forget = cmd("XGROUP");
                    forget.arg("DELCONSUMER").arg(stream).arg(self.delivery.name()).arg(member.name);
                    self.shared.redis.query::<()>("forgetting a member", &forget).await?;
                }
            }
        }
        Ok(())
    }

    /// Entries that a member read a while ago and did not acknowledge; a member that died, most likely.
    async fn take_over(&mut self) -> Result<Vec<Entry>, RedisError> {
        let (group, redis) = (self.delivery.name(), &self.shared.redis);
        let mut pipeline = pipe();
        for (stream, from) in self.streams.iter().zip(&self.takeover_from) {
            pipeline.cmd("XAUTOCLAIM").arg(stream).arg(group).arg(&self.shared.member);
            pipeline.arg(IDLE_MAX.as_millis().to_string()).arg(from).arg("COUNT").arg(READ_MAX);
        }
        let replies: Vec<StreamAutoClaimReply> = redis.pipeline("taking entries over", &pipeline).await?;
        let claimed = self.streams.iter().zip(&replies).flat_map(|(stream, reply)| stream::claimed(stream, reply));
        let claimed = claimed.collect();
        // The next look goes on from there; "0-0" when this one came to the end.
        self.takeover_from = replies.into_iter().map(|reply| reply.next_stream_id).collect();
        Ok(claimed)
    }
}
