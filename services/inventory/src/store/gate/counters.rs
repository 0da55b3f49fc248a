//! What every keeper of counters promises.

use std::fmt;

use async_trait::async_trait;
use spillway_types::{OrderId, Sku};

use crate::domain::admission::{Generation, Moment, Setting, Stock, Verdict};

/// Where a gate's counters are kept.
///
/// What a keeper promises, whoever asks how often and in which order:
///
/// - A counter exists only after [`Self::set`], and only until the setting's time is over, on the keeper's own clock. No
///   other call makes one. Without one the verdict is [`Verdict::Open`].
/// - Of a setting's units no more are admitted than there are, and an order is counted once a setting.
/// - What was counted is given back at most once, and never to another setting than the one that counted it.
/// - A setting that rests on an older version of the item than the present one changes nothing, nor does one whose time is
///   over when it arrives. So neither a slow replica nor a script from before a loss can put a counter back in time.
/// - Any of this may be lost at any time; then there is no counter.
#[async_trait]
pub trait Counters: fmt::Debug + Send + Sync + 'static {
    /// Counts an order at a SKU's counter, if there is enough left for it.
    async fn admit(&self, sku: &Sku, order_id: OrderId, quantity: u32) -> Result<Verdict, Unavailable>;
    /// Takes back what was counted for an order.
    async fn give_back(&self, sku: &Sku, order_id: OrderId, generation: Generation) -> Result<(), Unavailable>;
    /// What time it is, to be asked before the ledger is looked at.
    async fn moment(&self) -> Result<Moment, Unavailable>;
    /// Sets counters to what was seen.
    async fn set(&self, stocks: &[Stock], setting: Setting) -> Result<(), Unavailable>;
    /// How many more units a SKU's counter would admit; `None` when there is none.
    async fn left(&self, sku: &Sku) -> Result<Option<i64>, Unavailable>;
}

/// The counters did not answer. They may have counted all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);
