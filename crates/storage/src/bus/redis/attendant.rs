//! The publisher's side: what was published must arrive, and what has arrived need not be kept.
//!
//! Every tick, for each topic of the outbox:
//! - has Redis other data than the watermark was measured in? Then the stream is restarted from the watermark;
//! - have all groups acknowledged everything up to the ends of the streams as they were at some moment? Then the
//!   watermark is that moment, and the next one is taken;
//! - what all groups have acknowledged is trimmed. A topic that nobody reads keeps a bounded number of events.
//!
//! Replicas do this side by side; each step is one that the others may have done already.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use futures_util::future::try_join_all;
use spillway_types::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    stream::{self, EntryId},
};
use crate::{
    StoreError,
    bus::NotPublished,
    outbox::{Outbox, Stream},
    redis::{RedisError, Script, cmd},
};

/// How often refill requests are looked for; a consumer with a gap waits this long.
const REFILL_POLL: Duration = Duration::from_millis(100);
/// Requests served at a time.
const REFILLS_MAX: usize = 100;
/// How often watermarks and lengths are looked at: what Redis loses is published again after about this time.
const TICK: Duration = Duration::from_secs(1);
/// A watermark is put this much earlier than what was seen, so that a database's clock which jumps back a little takes
/// nothing with it.
const SLACK: Duration = Duration::from_secs(5);
/// A topic without a group for so long has no consumers. Those of a new installation, or of a Redis that has lost its
/// groups, come within seconds.
const UNHEARD_AFTER: Duration = Duration::from_secs(60);
/// Entries that a stream without consumers keeps for one that may still come; some MB a topic.
const UNHEARD_KEPT: u64 = 1_000;
/// Says how long a stream is, where it ends and below which id all groups have acknowledged everything, and trims it up to
/// there. In one script, since an id of data that were lost meanwhile means nothing for those that came after.
const LOOK: &str = include_str!("look.lua");

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Publish(#[from] NotPublished),
}

/// The ends of a topic's streams at some moment.
#[derive(Debug)]
struct Candidate {
    at: Timestamp,
    ends: BTreeMap<String, EntryId>,
}

/// How far a stream was read, by the group that is the furthest behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    length: u64,
    /// Where it ends.
    end: EntryId,
    /// Everything below is acknowledged by all groups; none without a group.
    acknowledged_below: Option<EntryId>,
}

/// What this process knows of the topics that it attends to.
#[derive(Debug, Default)]
struct Attendant {
    candidates: BTreeMap<String, Candidate>,
    audience: Audience,
}

/// Which topics have consumers.
#[derive(Debug, Default)]
struct Audience {
    /// Topics whose streams had a group once. It may be gone for a moment, when Redis has lost its data.
    heard: BTreeSet<String>,
    /// Since when the others have been looked at.
    unheard_since: BTreeMap<String, Instant>,
}

/// Runs until `stop`.
pub(super) async fn run(shared: &Shared, outbox: &dyn Outbox, stop: CancellationToken) {
    let mut attendant = Attendant::default();
    let (mut streams, mut tick_at) = (Vec::new(), Instant::now());
    let mut troubled = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.news.notified() => tick_at = Instant::now(),
            () = tokio::time::sleep(REFILL_POLL) => {}
        }
        let round = async {
            if Instant::now() >= tick_at {
                tick_at = Instant::now() + TICK;
                streams = outbox.streams().await?;
                for stream in &streams {
                    attendant.tick(shared, outbox, stream).await?;
                }
            }
            for stream in &streams {
                refill(shared, outbox, &stream.topic).await?;
            }
            Ok::<(), Trouble>(())
        };
        // Said once: the same trouble is likely to last, and others who have it say so too.
        match round.await {
            Ok(()) => troubled = false,
            Err(trouble) if !troubled => {
                troubled = true;
                tracing::warn!(%trouble, "published events are not looked after at the moment");
            }
            Err(_) => {}
        }
    }
}

/// Has a topic's stream begin in the data that Redis has now, unless it has begun already.
pub(super) async fn enrol(shared: &Shared, outbox: &dyn Outbox, topic: &str) -> Result<(), NotPublished> {
    let enrol = async {
        for stream in outbox.streams().await?.iter().filter(|stream| stream.topic == topic) {
            restart_if_new(shared, outbox, stream).await?;
        }
        Ok::<(), Trouble>(())
    };
    enrol.await.map_err(|trouble| NotPublished(trouble.to_string()))
}

/// Answers whether the data are new.
async fn restart_if_new(shared: &Shared, outbox: &dyn Outbox, stream: &Stream) -> Result<bool, Trouble> {
    let history = shared.redis.history().await?;
    if stream.history == history.as_str() {
        return Ok(false);
    }
    outbox.restart(stream, history.as_str()).await?;
    if !stream.history.is_empty() {
        shared.counters.restarts.fetch_add(1, Ordering::Relaxed);
        let (topic, watermark) = (&stream.topic, stream.watermark);
        tracing::warn!(topic, ?watermark, "redis has other data than before; publishing again from the watermark");
    }
    Ok(true)
}

/// Looks at every stream of a topic, and trims it: down to `kept` entries if no group reads it and there is such a bound.
async fn look(shared: &Shared, topic: &str, kept: Option<u64>) -> Result<BTreeMap<String, Progress>, Trouble> {
    let script = Script::new(LOOK);
    let look = async |name: String| {
        let mut invocation = script.key(&name);
        invocation.arg(kept.map_or_else(String::new, |kept| kept.to_string()));
        let (length, end, below): (u64, String, Option<String>) =
            shared.redis.script("looking at a stream", &invocation).await?;
        let progress = Progress {
            length,
            end: EntryId::parse(&end).unwrap_or_default(),
            acknowledged_below: below.as_deref().and_then(EntryId::parse),
        };
        Ok::<_, Trouble>((name, progress))
    };
    try_join_all(stream::all(topic).map(look)).await.map(BTreeMap::from_iter)
}

/// Publishes events again that a consumer misses.
async fn refill(shared: &Shared, outbox: &dyn Outbox, topic: &str) -> Result<(), Trouble> {
    let mut pop = cmd("LPOP");
    pop.arg(stream::refills(topic)).arg(REFILLS_MAX);
    let requests: Option<Vec<String>> = shared.redis.query("looking for refill requests", &pop).await?;
    // Replicas of a consumer miss the same things.
    let requests: BTreeSet<String> = requests.unwrap_or_default().into_iter().collect();
    for request in requests {
        let Ok((lane, from, to)) = stream::requested(topic, &request) else {
            tracing::warn!(topic, request, "refill request is not readable; passed over");
            continue;
        };
        let events = outbox.read(&lane, from..=to).await?;
        if events.is_empty() {
            tracing::debug!(topic, key = lane.key, from, to, "events that are asked for are not there yet");
        } else {
            shared.publish(&events).await?;
        }
    }
    Ok(())
}

// === impl Attendant ===

impl Attendant {
    async fn tick(&mut self, shared: &Shared, outbox: &dyn Outbox, stream: &Stream) -> Result<(), Trouble> {
        let topic = &stream.topic;
        if restart_if_new(shared, outbox, stream).await? {
            self.candidates.remove(topic);
            return Ok(());
        }
        let now = outbox.now().await?;
        let is_unheard = self.audience.is_unheard(topic, Instant::now());
        let progress = look(shared, topic, is_unheard.then_some(UNHEARD_KEPT)).await?;
        // Still the same data, so that is what the progress is of.
        if shared.redis.history().await?.as_str() != stream.history {
            return Ok(());
        }
        if progress.values().any(|progress| progress.acknowledged_below.is_some()) {
            self.audience.heard.insert(topic.clone());
        }
        for (name, progress) in &progress {
            shared.note_length(name, progress.length);
        }
        let candidate = self.candidates.get(topic);
        let has_arrived = candidate.is_some_and(|candidate| is_unheard || candidate.has_arrived(&progress));
        if has_arrived && let Some(candidate) = self.candidates.remove(topic) {
            let at = candidate.at.as_micros().saturating_sub(i64::try_from(SLACK.as_micros()).unwrap_or(i64::MAX));
            outbox.advance(stream, Timestamp::from_micros(at)).await?;
        }
        let ends = || progress.iter().map(|(name, progress)| (name.clone(), progress.end)).collect();
        self.candidates.entry(topic.clone()).or_insert_with(|| Candidate { at: now, ends: ends() });
        Ok(())
    }
}

// === impl Audience ===

impl Audience {
    /// Whether nobody reads a topic: no group was ever seen, for a good while.
    fn is_unheard(&mut self, topic: &str, now: Instant) -> bool {
        if self.heard.contains(topic) {
            return false;
        }
        let since = self.unheard_since.entry(topic.to_owned()).or_insert(now);
        now.duration_since(*since) >= UNHEARD_AFTER
    }
}

// === impl Candidate ===

impl Candidate {
    /// Whether all groups have acknowledged everything up to these ends.
    fn has_arrived(&self, progress: &BTreeMap<String, Progress>) -> bool {
        self.ends.iter().all(|(name, end)| {
            let below = progress.get(name).and_then(|progress| progress.acknowledged_below);
            below.is_some_and(|below| below > *end)
        })
    }
}

#[cfg(test)]
mod tests;
