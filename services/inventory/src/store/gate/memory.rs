//! Counters in this process: for a platform of one process, and for replicas that have no Redis, each of which then
//! guesses for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use spillway_types::{OrderId, Sku};
use tokio::time::Instant;

use super::{Counters, Unavailable};
use crate::domain::admission::{Counter, Generation, Moment, Setting, Stock, Verdict};

/// Counters in a map. Never unavailable.
#[derive(Debug)]
pub struct MemoryCounters {
    since: Instant,
    counters: Mutex<HashMap<Sku, Counter>>,
}

// === impl MemoryCounters ===

impl MemoryCounters {
    /// No counters yet.
    pub fn new() -> Self {
        Self { since: Instant::now(), counters: Mutex::default() }
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sku, Counter>> {
        // A counter is whole after every statement, whoever panicked.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryCounters {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Counters for MemoryCounters {
    async fn admit(&self, sku: &Sku, order_id: OrderId, quantity: u32) -> Result<Verdict, Unavailable> {
        let now = self.now();
        Ok(self.lock().get_mut(sku).map_or(Verdict::Open, |counter| counter.admit(order_id, quantity, now)))
    }

    async fn give_back(&self, sku: &Sku, order_id: OrderId, generation: Generation) -> Result<(), Unavailable> {
        if let Some(counter) = self.lock().get_mut(sku) {
            counter.give_back(order_id, generation);
        }
        Ok(())
    }

    async fn moment(&self) -> Result<Moment, Unavailable> {
        Ok(self.now())
    }

    async fn set(&self, stocks: &[Stock], setting: Setting) -> Result<(), Unavailable> {
        let now = self.now();
        let mut counters = self.lock();
        counters.retain(|_, counter| counter.left(now).is_some());
        for stock in stocks {
            if let Some(counter) = Counter::set(counters.get(&stock.sku), stock, setting, now) {
                counters.insert(stock.sku.clone(), counter);
            }
        }
        Ok(())
    }

    async fn left(&self, sku: &Sku) -> Result<Option<i64>, Unavailable> {
        let now = self.now();
        Ok(self.lock().get(sku).and_then(|counter| counter.left(now)))
    }
}
