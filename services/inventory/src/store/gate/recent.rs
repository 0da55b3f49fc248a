//! Which SKUs have been asked for lately: those have counters.

use std::{collections::HashMap, time::Duration};

use spillway_types::Sku;
use tokio::time::Instant;

/// How long a SKU's counter is kept up after it was last asked for: a good while longer than the 30 s after which audits
/// compare it with the ledger.
const KEPT: Duration = Duration::from_secs(60);

/// SKUs and when each was last asked for; a bounded number, of which the one that was not asked for the longest makes
/// room.
#[derive(Debug)]
pub(super) struct Recent {
    max: usize,
    asked: HashMap<Sku, Instant>,
}

// === impl Recent ===

impl Recent {
    pub(super) fn new(max: usize) -> Self {
        Self { max, asked: HashMap::new() }
    }

    /// Notes that a SKU was asked for, and says whether it is a new one.
    pub(super) fn note(&mut self, sku: &Sku, now: Instant) -> bool {
        if let Some(last) = self.asked.get_mut(sku) {
            *last = now;
            return false;
        }
        if self.asked.len() >= self.max {
            let idlest = self.asked.iter().min_by_key(|(_, last)| **last).map(|(sku, _)| sku.clone());
            if let Some(idlest) = idlest {
                self.asked.remove(&idlest);
            }
        }
        self.asked.insert(sku.clone(), now);
        true
    }

    /// Those that were asked for lately; the others are dropped.
    pub(super) fn current(&mut self, now: Instant) -> Vec<Sku> {
        self.asked.retain(|_, last| now.saturating_duration_since(*last) < KEPT);
        self.asked.keys().cloned().collect()
    }

    /// Drops what the ledger does not know.
    pub(super) fn forget(&mut self, sku: &Sku) {
        self.asked.remove(sku);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(name: &str) -> Sku {
        Sku::new(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_not_asked_for_the_longest_makes_room() {
        let mut recent = Recent::new(2);
        for name in ["HOT", "COLD", "HOT", "NEW"] {
            recent.note(&sku(name), Instant::now());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let mut kept = recent.current(Instant::now());
        kept.sort();
        assert_eq!(kept, [sku("HOT"), sku("NEW")]);
        tokio::time::advance(KEPT).await;
        assert!(recent.current(Instant::now()).is_empty(), "nobody asks any more");
    }
}
