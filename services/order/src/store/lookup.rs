//! One order by its id: from the store or, while that does not answer, from the read cache.
//!
//! The store comes first, always: a read that follows an acknowledged write has to see it (invariant I19), and only the
//! store knows. What the cache says instead is marked stale, with one exception: no order moves on from a final state,
//! so whoever knows an order in one knows all there is.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use spillway_storage::StoreError;
use spillway_types::OrderId;
use tokio::time::Instant;

use super::{Reader, cache::Cache};
use crate::domain::Order;

/// How long the store may take before the cache is asked: many times what a read by key needs, and little enough to leave
/// a caller's deadline (2 s) room for the other answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Failures in a row after which the store is left alone.
const FAILURES_MAX: u32 = 3;
/// Pause between two reads that try a store that was left alone.
const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// The way to an order.
#[derive(Debug)]
pub struct Lookup {
    reader: Arc<dyn Reader>,
    cache: Option<Cache>,
    outage: Mutex<Outage>,
    stale: AtomicU64,
}

/// What is known of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The order.
    pub order: Order,
    /// It may have moved on since: the store did not answer.
    pub stale: bool,
}

/// Whether the store answers, so that not every caller has to wait to find out.
#[derive(Debug, Default)]
struct Outage {
    /// In a row, up to now.
    failures: u32,
    /// When to try next.
    probe_at: Option<Instant>,
}

// === impl Lookup ===

impl Lookup {
    /// Through the store, with a cache to fall back on if there is one.
    pub fn new(reader: Arc<dyn Reader>, cache: Option<Cache>) -> Self {
        Self { reader, cache, outage: Mutex::default(), stale: AtomicU64::new(0) }
    }

    /// An order or tombstone.
    ///
    /// # Errors
    /// When the store does not answer, and the cache does not know the order.
    pub async fn order(&self, order_id: OrderId) -> Result<Option<Known>, StoreError> {
        let fresh = |order| Known { order, stale: false };
        let Some(cache) = &self.cache else {
            return Ok(self.reader.order(order_id).await?.map(fresh));
        };
        let failed = if self.with_outage(|outage| outage.admits(Instant::now())) {
            match self.ask_store(order_id).await {
                Ok(found) => {
                    self.with_outage(Outage::is_over);
                    return Ok(found.map(fresh));
                }
                // The store did answer, and nobody knows better.
                Err(error @ StoreError::Corrupt(_)) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, %order_id, "the store did not answer a read");
                    self.with_outage(|outage| outage.goes_on(Instant::now()));
                    Some(error)
                }
            }
        } else {
            None
        };
        match cache.get(order_id).await {
            Ok(Some(order)) => {
                let stale = !order.state.is_final();
                self.stale.fetch_add(stale.into(), Ordering::Relaxed);
                return Ok(Some(Known { order, stale }));
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, %order_id, "the cache did not answer either"),
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(self.ask_store(order_id).await?.map(fresh)),
        }
    }

    /// Answers so far that were marked stale.
    pub fn stale_answers(&self) -> u64 {
        self.stale.load(Ordering::Relaxed)
    }

    async fn ask_store(&self, order_id: OrderId) -> Result<Option<Order>, StoreError> {
        match tokio::time::timeout(PATIENCE, self.reader.order(order_id)).await {
            Ok(answer) => answer,
            Err(_) => {
                let source = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                Err(StoreError::Database { doing: "reading an order", source })
            }
        }
    }

    fn with_outage<T>(&self, act: impl FnOnce(&mut Outage) -> T) -> T {
        act(&mut self.outage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Outage ===

impl Outage {
    /// Whether a read should try the store. While it does not answer, one at a time does.
    fn admits(&mut self, now: Instant) -> bool {
        match self.probe_at {
            Some(at) if now < at => false,
            Some(_) => {
                self.probe_at = Some(now + PROBE_PAUSE);
                true
            }
            None => true,
        }
    }

    fn goes_on(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX && self.probe_at.is_none() {
            tracing::warn!(failures = self.failures, "the store does not answer; orders are read from the cache");
            self.probe_at = Some(now + PROBE_PAUSE);
        }
    }

    fn is_over(&mut self) {
        self.failures = 0;
        if self.probe_at.take().is_some() {
            tracing::info!("the store answers again");
        }
    }
}

#[cfg(test)]
mod tests;
