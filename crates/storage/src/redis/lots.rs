//! A rate that a whole fleet shares, taken from Redis in lots.
//!
//! The hot path is one atomic of the process. A task keeps it filled: it leases a lot of permits from the fleet's bucket
//! when few are left, about as many as the next tenth of a second needs. So the fleet as a whole admits at most its rate
//! and one burst, plus what replicas have leased and not used.
//!
//! While Redis is away, each replica goes on with its share: the rate divided by as many replicas as were there last.

use std::{
    fmt,
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{Redis, RedisError, Script};

/// Takes permits out of the fleet's bucket.
static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease.lua")));
/// For how long a lot should last, in milliseconds. Shorter asks Redis more often, longer leaves more permits with replicas
/// that do not use them.
const LOT_MILLIS: u64 = 100;
/// Shortest pause between two leases: at most 50 calls a second, a replica.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the task looks by itself. Between two looks, a share grows while Redis is away.
const POLL: Duration = Duration::from_millis(50);
/// After which time a replica that leases nothing no longer counts as one, in milliseconds.
const MEMBER_MILLIS: u64 = 10_000;

/// A rate of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What is limited; replicas with the same name share the bucket.
    pub name: String,
    /// Permits a second, for the whole fleet; at least 1.
    pub per_second: u32,
    /// Most permits that the fleet's bucket holds; at least 1.
    pub burst: u32,
    /// Among how many replicas the rate is divided until Redis has told; at least 1.
    pub replicas: u32,
}

/// This replica's end of a fleet's rate. Cheap to clone; the last clone ends the task.
#[derive(Clone)]
pub struct Lots {
    shared: Arc<Shared>,
}

struct Shared {
    redis: Redis,
    rate: Rate,
    member: String,
    permits: AtomicI64,
    /// Below this, a lot is leased.
    low: AtomicI64,
    /// Permits asked for since the last lease, given or not.
    asked: AtomicU64,
    replicas: AtomicU32,
    refused: AtomicU64,
    wanted: Notify,
}

// === impl Lots ===

impl Lots {
    /// Joins a fleet's rate, and leases the first lot in the background.
    pub fn new(redis: Redis, rate: Rate) -> Self {
        let shared = Arc::new(Shared {
            redis,
            member: format!("{:032x}", rand::random::<u128>()),
            permits: AtomicI64::new(0),
            low: AtomicI64::new(1),
            asked: AtomicU64::new(0),
            replicas: AtomicU32::new(rate.replicas.max(1)),
            refused: AtomicU64::new(0),
            wanted: Notify::new(),
            rate,
        });
        tokio::spawn(keep_filled(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Takes a permit, at once or not at all.
    pub fn try_take(&self) -> bool {
        let shared = &*self.shared;
        shared.asked.fetch_add(1, Ordering::Relaxed);
        let left = shared
            .permits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |permits| (permits > 0).then_some(permits - 1));
        if left.map_or(0, |before| before - 1) < shared.low.load(Ordering::Relaxed) {
            shared.wanted.notify_one();
        }
        if left.is_err() {
            shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        left.is_ok()
    }

    /// Among how many replicas the rate is shared, as far as is known.
    pub fn replicas(&self) -> u32 {
        self.shared.replicas.load(Ordering::Relaxed)
    }

    /// How often there was no permit, since the start.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Lots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { rate, permits, replicas, refused, .. } = &*self.shared;
        f.debug_struct("Lots")
            .field("rate", rate)
            .field("permits", permits)
            .field("replicas", replicas)
            .field("refused", refused)
            .finish_non_exhaustive()
    }
}

/// Runs until the last [`Lots`] is gone.
async fn keep_filled(shared: Weak<Shared>) {
    let mut share = Share { since: Instant::now(), part: 0.0 };
    let mut looked_at = Instant::now();
    while let Some(shared) = shared.upgrade() {
        let asked = shared.asked.swap(0, Ordering::Relaxed);
        let lot = shared.lot(asked, looked_at.elapsed());
        looked_at = Instant::now();
        shared.low.store((lot + 1) / 2, Ordering::Relaxed);
        let missing = lot - shared.permits.load(Ordering::Relaxed);
        if missing > lot / 2 {
            match shared.lease(missing).await {
                Ok(granted) => {
                    shared.permits.fetch_add(granted, Ordering::Relaxed);
                    share = Share { since: Instant::now(), part: 0.0 };
                }
                Err(error) => {
                    tracing::trace!(%error, "no lot; going on with a share");
                    shared.grow(&mut share);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = shared.wanted.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// What has grown by itself while Redis was away.
struct Share {
    since: Instant,
    /// Less than one permit, which is not lost.
    part: f64,
}

// === impl Shared ===

impl Shared {
    /// How many permits to have in hand, after `asked` calls in `elapsed`: what a tenth of a second needs at this pace,
    /// with as much again for a pace that grows; at least this replica's part of the rate.
    fn lot(&self, asked: u64, elapsed: Duration) -> i64 {
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let needed = asked.saturating_mul(2 * LOT_MILLIS) / elapsed;
        let replicas = u64::from(self.replicas.load(Ordering::Relaxed).max(1));
        let part = u64::from(self.rate.per_second) * LOT_MILLIS / 1_000 / replicas;
        let lot = needed.max(part).clamp(1, u64::from(self.rate.burst.max(1)));
        i64::try_from(lot).unwrap_or(i64::MAX)
    }

    /// Answers how many permits the fleet's bucket had to spare.
    async fn lease(&self, wanted: i64) -> Result<i64, RedisError> {
        let Rate { name, per_second, burst, .. } = &self.rate;
        let mut lease = LEASE.prepare_invoke();
        lease.key(format!("spillway:lots:{{{name}}}")).key(format!("spillway:lots:{{{name}}}:members"));
        lease.arg(per_second).arg(burst).arg(wanted).arg(&self.member).arg(MEMBER_MILLIS);
        let (granted, replicas): (i64, u32) = self.redis.script("leasing a lot", &lease).await?;
        self.replicas.store(replicas.max(1), Ordering::Relaxed);
        Ok(granted)
    }

    /// Adds this replica's share of the rate since the last time, up to its share of the burst.
    fn grow(&self, share: &mut Share) {
        let replicas = f64::from(self.replicas.load(Ordering::Relaxed).max(1));
        let grown = f64::from(self.rate.per_second) / replicas * share.since.elapsed().as_secs_f64() + share.part;
        let max = (i64::from(self.rate.burst) / i64::from(self.replicas.load(Ordering::Relaxed).max(1))).max(1);
        let whole = whole(grown).min(max);
        *share = Share { since: Instant::now(), part: grown.fract() };
        let permits = self.permits.load(Ordering::Relaxed);
        // Only this task adds, so there is at least as much room later as there is now.
        self.permits.fetch_add(whole.min((max - permits).max(0)), Ordering::Relaxed);
    }
}

/// The whole permits in a number that is neither negative nor beyond a burst or so.
fn whole(permits: f64) -> i64 {
    i64::try_from(Duration::from_secs_f64(permits.clamp(0.0, 1e12)).as_secs()).unwrap_or(i64::MAX)
}
