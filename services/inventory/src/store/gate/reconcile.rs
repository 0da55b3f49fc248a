//! Keeping the gate in step with the ledger.

use std::{sync::atomic::Ordering, time::Duration};

use spillway_storage::StoreError;
use spillway_types::Sku;
use tokio::time::{Instant, error::Elapsed, timeout};

use super::{Counters, Gate, Unavailable};
use crate::{
    domain::admission::{Generation, Moment, Setting, Stock},
    store::Reader,
};

/// How long reconciling waits for the counters: longer than a Reserve does, since nobody waits for it.
const RECONCILE_WAIT: Duration = Duration::from_millis(250);
/// Shortest time between two looks at the ledger, whatever happens to stock meanwhile.
const LOOK_PACE: Duration = Duration::from_millis(20);

/// Why counters could not be set.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// The ledger was not to be seen.
    #[error(transparent)]
    Ledger(#[from] StoreError),
    /// The counters did not answer.
    #[error("the gate's counters: {0}")]
    Counters(#[from] Unavailable),
}

/// A gate whose counter says something else than the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of which SKU.
    pub sku: Sku,
    /// Units that the counter would admit.
    pub gate: i64,
    /// Units that the ledger has, and none when it does not know the SKU.
    pub ledger: Option<i64>,
}

// === impl Gate ===

impl Gate {
    /// Has the reconciler look soon: units may have come back on offer.
    pub(crate) fn stock_may_have_risen(&self) {
        self.due.notify_one();
    }

    /// Resolves when counters are to be set again: after half the interval, so that none lapses while all is well, or
    /// sooner, when a SKU is new or stock has risen. A gate that nobody asks waits for somebody.
    pub(crate) async fn due(&self) {
        tokio::time::sleep(LOOK_PACE).await;
        let is_idle = self.recent().is_empty() && !self.stands_open.load(Ordering::Relaxed);
        if is_idle {
            self.due.notified().await;
        } else {
            drop(timeout(self.interval() / 2, self.due.notified()).await);
        }
    }

    /// Sets the counters of the SKUs that were asked for lately to what the ledger has.
    ///
    /// # Errors
    /// When the ledger or the counters do not answer. In the latter case the gate stands open until they do.
    pub async fn reconcile(&self, reader: &dyn Reader) -> Result<(), NotSet> {
        let skus = self.recent().current(Instant::now());
        let seen_at = self.reached(timeout(RECONCILE_WAIT, self.counters.moment()).await)?;
        let stocks = if skus.is_empty() { Vec::new() } else { reader.stocks(&skus).await? };
        self.forget_unknown(&skus, &stocks);
        let interval = u64::try_from(self.interval().as_micros()).unwrap_or(u64::MAX);
        let setting =
            Setting { generation: Generation(rand::random()), until: Moment(seen_at.0.saturating_add(interval)) };
        self.reached(timeout(RECONCILE_WAIT, self.counters.set(&stocks, setting)).await)?;
        self.misses.store(0, Ordering::Relaxed);
        if self.stands_open.swap(false, Ordering::Relaxed) {
            tracing::info!(failed_open = self.totals().failed_open, "the gate works again");
        }
        Ok(())
    }

    /// A SKU that the ledger does not know needs no counter: who invents names must not push out those that are for sale.
    fn forget_unknown(&self, asked: &[Sku], stocks: &[Stock]) {
        if stocks.len() < asked.len() {
            let mut recent = self.recent();
            for sku in asked.iter().filter(|sku| !stocks.iter().any(|stock| stock.sku == **sku)) {
                recent.forget(sku);
            }
        }
    }

    fn reached<T>(&self, answer: Result<Result<T, Unavailable>, Elapsed>) -> Result<T, Unavailable> {
        let late = |_| Err(Unavailable(format!("no answer within {RECONCILE_WAIT:?}")));
        answer.unwrap_or_else(late).inspect_err(|why| self.open(why))
    }
}

/// Compares counters with the ledger (invariant I14). They are equal once nothing has changed for an interval.
///
/// # Errors
/// When either does not answer.
pub async fn differences(
    counters: &dyn Counters,
    reader: &dyn Reader,
    skus: &[Sku],
) -> Result<Vec<Difference>, NotSet> {
    let stocks = reader.stocks(skus).await?;
    let mut differences = Vec::new();
    for sku in skus {
        let ledger = stocks.iter().find(|stock| stock.sku == *sku).map(|stock| stock.available);
        if let Some(gate) = counters.left(sku).await?
            && Some(gate) != ledger
        {
            differences.push(Difference { sku: sku.clone(), gate, ledger });
        }
    }
    Ok(differences)
}
