//! The read cache: every order that moved within the last 30 seconds, in Redis.
//!
//! A caller who was told that an order moved must find it moved (invariant I19), and a cache that is filled behind the
//! commits cannot promise that. So it is not asked to spare the store a read, but to answer while the store does not:
//! see [`super::lookup`]. Committers never wait for it; what it cannot take at once it does without.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use spillway_storage::redis::{Redis, RedisError, Script, cmd};
use spillway_types::OrderId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::Order;

/// How long an order stays after its last move. A buyer looks at an order while it moves; and no answer from here is
/// older than this.
const TTL: Duration = Duration::from_secs(30);
/// Orders that wait to be written, of some KiB each: a second's worth of a busy service. More are dropped.
const QUEUE_MAX: usize = 8_192;
/// Orders taken from the queue at a time.
const BATCH_MAX: usize = 256;
/// Writes under way at a time: enough to fill a connection's round trip.
const WRITES_MAX: usize = 64;

/// Writes an order unless one of the same or a later version is there: writes of two replicas may overtake each other.
const PUT: &str = "
    local known = redis.call('HGET', KEYS[1], 'version')
    if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
    redis.call('HSET', KEYS[1], 'version', ARGV[1], 'order', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return 1";

/// The read end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    redis: Redis,
}

/// The committers' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    queue: mpsc::Sender<Order>,
    dropped: Arc<AtomicU64>,
}

/// The worker between the two.
#[derive(Debug)]
pub struct Filler {
    redis: Redis,
    queue: mpsc::Receiver<Order>,
    dropped: Arc<AtomicU64>,
}

/// A cache in `redis`: its read end, what fills it, and the worker that has to run for that.
pub fn open(redis: Redis) -> (Cache, Feed, Filler) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let feed = Feed { queue: sender, dropped: Arc::clone(&dropped) };
    (Cache { redis: redis.clone() }, feed, Filler { redis, queue, dropped })
}

/// One key an order, tagged so that a cluster keeps together whatever is ever kept of it.
fn key(order_id: OrderId) -> String {
    format!("spillway:order:{{{order_id}}}")
}

// === impl Cache ===

impl Cache {
    /// An order as it stood at some moment of the last 30 seconds, if it moved in that time.
    ///
    /// # Errors
    /// When Redis is down or does not answer in time.
    pub async fn get(&self, order_id: OrderId) -> Result<Option<Order>, RedisError> {
        let mut get = cmd("HGET");
        get.arg(key(order_id)).arg("order");
        let text: Option<String> = self.redis.query("reading a cached order", &get).await?;
        Ok(text.and_then(|text| match serde_json::from_str(&text) {
            Ok(order) => Some(order),
            Err(error) => {
                // Written by a replica of another version. To this one it is not there.
                tracing::warn!(%error, %order_id, "cached order not readable");
                None
            }
        }))
    }
}

// === impl Feed ===

impl Feed {
    /// Offers orders to the cache.
    pub(super) fn put(&self, orders: impl IntoIterator<Item = Order>) {
        for order in orders {
            if self.queue.try_send(order).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Orders that the cache could not take, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

// === impl Filler ===

impl Filler {
    /// Writes what is offered until `stop`, or until nobody can offer any more.
    pub async fn run(mut self, stop: CancellationToken) {
        let script = Script::new(PUT);
        let mut orders = Vec::with_capacity(BATCH_MAX);
        while let Some(1..) = stop.run_until_cancelled(self.queue.recv_many(&mut orders, BATCH_MAX)).await {
            let writes = stream::iter(orders.drain(..).map(|order| write(&self.redis, &script, order)));
            let lost = writes.buffer_unordered(WRITES_MAX).filter(|is_written| std::future::ready(!is_written));
            let lost = u64::try_from(lost.count().await).unwrap_or(u64::MAX);
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

/// Writes one order. Whether Redis has it, or a later one; a Redis that is down is logged by its keeper, once.
async fn write(redis: &Redis, script: &Script, order: Order) -> bool {
    let text = match serde_json::to_string(&order) {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, order_id = %order.order_id, "order not cached");
            return false;
        }
    };
    let mut put = script.key(key(order.order_id));
    put.arg(order.version).arg(text).arg(TTL.as_secs() * 1_000);
    match redis.script::<i64>("caching an order", &put).await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(%error, order_id = %order.order_id, "order not cached");
            false
        }
    }
}

#[cfg(test)]
mod tests;
