//! The gate before the ledger: in a flash sale nearly every Reserve must be refused, and a refusal here costs almost
//! nothing and never touches the database.
//!
//! The ledger decides. The gate may only say "no" or "go and ask":
//!
//! - Its "no" leaves no record, says so, and is given to first attempts only; a repeat goes past it. Copies of one call that
//!   reach this process hear one verdict.
//! - It may admit too many at any time. It may admit too few for at most the reconcile interval: each counter is set from
//!   a look at the ledger and lapses when that look is as old as the interval.
//! - When the counters are gone or slow, it stands open and says so. What is lost with them is only what the next look at
//!   the ledger brings back.
//!
//! ```text
//!   Reserve ─► enter ──"no"──► OUT_OF_STOCK, unrecorded
//!                │ admitted
//!                ▼
//!              ledger ──refused──► leave: what was counted goes back
//!                ▲
//!                └── reconcile: looks at the SKUs asked for lately, sets their counters
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`counters`] | what every keeper of counters promises |
//! | [`memory`] | counters in this process |
//! | [`redis`] | counters that all replicas share |
//! | [`reconcile`] | keeping them in step with the ledger |

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use spillway_types::{Fault, OrderId, Reason, Sku, fault::Class};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

pub use self::{
    counters::{Counters, Unavailable},
    reconcile::{Difference, NotSet, differences},
};
use self::{
    recent::Recent,
    verdicts::{Judged, Verdicts},
};
use crate::{
    config::GateConfig,
    domain::{
        admission::{Generation, Verdict},
        command::Reserve,
    },
};

pub mod counters;
pub mod memory;
mod recent;
pub mod reconcile;
pub mod redis;
mod verdicts;

/// So many Reserves in a row that got no verdict open the gate until the reconciler has reached the counters again, so
/// that nobody pays the budget for counters that are frozen. One that was only late is no reason.
const MISSES_MAX: u32 = 8;
/// Which part of the interval a refusal stands for copies of the same call, which follow each other closely.
const REFUSAL_STANDS: u32 = 4;

/// How often the gate was asked, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// First attempts at a Reserve.
    pub asked: u64,
    /// Of these, refused here.
    pub refused: u64,
    /// Of these, let through because the counters did not answer in time, or were known not to.
    pub failed_open: u64,
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    counters: Arc<dyn Counters>,
    config: GateConfig,
    recent: Mutex<Recent>,
    verdicts: Mutex<Verdicts>,
    /// Wakes the reconciler.
    due: Notify,
    /// Reserves in a row that got no verdict.
    misses: AtomicU32,
    stands_open: AtomicBool,
    asked: AtomicU64,
    refused: AtomicU64,
    failed_open: AtomicU64,
}

/// What a Reserve was counted for on its way in.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    counted: Vec<(Sku, Generation)>,
}

// === impl Gate ===

impl Gate {
    /// A gate over `counters`.
    pub fn new(counters: Arc<dyn Counters>, config: GateConfig) -> Self {
        let refusal_stands = Duration::from_millis(config.interval_ms) / REFUSAL_STANDS;
        Self {
            counters,
            config,
            recent: Mutex::new(Recent::new(config.skus_max)),
            verdicts: Mutex::new(Verdicts::new(refusal_stands)),
            due: Notify::new(),
            misses: AtomicU32::new(0),
            stands_open: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed_open: AtomicU64::new(0),
        }
    }

    /// Judges a first attempt. Every line must be worth asking for. A copy of it hears the same.
    ///
    /// # Errors
    /// `OUT_OF_STOCK`, unrecorded, naming each short SKU and what is left of it.
    pub(crate) async fn enter(&self, reserve: &Reserve) -> Result<Pass, Fault> {
        if self.config.skus_max == 0 {
            return Ok(Pass::default());
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.note(reserve) {
            self.due.notify_one();
        }
        let known = self.verdicts().standing(reserve.order_id, Instant::now());
        let (pass, judged) = match known {
            Some(judged) => (Pass::default(), judged),
            None => {
                let (pass, found) = self.ask(reserve).await;
                let judged = self.verdicts().first(reserve.order_id, found, Instant::now());
                (pass, judged)
            }
        };
        match judged {
            Judged::Passed => Ok(pass),
            Judged::Refused(short) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.give_back(reserve.order_id, pass).await;
                Err(out_of_stock(reserve, &short))
            }
        }
    }

    /// Asks the counters.
    async fn ask(&self, reserve: &Reserve) -> (Pass, Judged) {
        let mut pass = Pass::default();
        if self.stands_open.load(Ordering::Relaxed) {
            self.failed_open.fetch_add(1, Ordering::Relaxed);
            return (pass, Judged::Passed);
        }
        let deadline = Instant::now() + self.budget();
        let asked = reserve
            .lines
            .iter()
            .map(|(sku, quantity)| timeout_at(deadline, self.counters.admit(sku, reserve.order_id, *quantity)));
        let (mut short, mut missed) = (Vec::new(), None);
        for (line, ((sku, _), verdict)) in reserve.lines.iter().zip(join_all(asked).await).enumerate() {
            match verdict {
                Ok(Ok(Verdict::Open)) => {}
                Ok(Ok(Verdict::Admitted(generation))) => pass.counted.push((sku.clone(), generation)),
                Ok(Ok(Verdict::Short(left))) => short.push((line, left)),
                Ok(Err(unavailable)) => missed = Some(unavailable),
                Err(_) => missed = Some(Unavailable(format!("no verdict within {:?}", self.budget()))),
            }
        }
        self.heard(missed);
        (pass, if short.is_empty() { Judged::Passed } else { Judged::Refused(short.into()) })
    }

    /// Takes back what was counted for a Reserve, if the ledger has refused it. Of one whose fate is not known nothing
    /// comes back; the next look at the ledger tells.
    pub(crate) async fn leave<T>(&self, order_id: OrderId, pass: Pass, answer: &Result<T, Fault>) {
        if answer.as_ref().is_err_and(|fault| fault.reason.class() == Class::Terminal) {
            self.give_back(order_id, pass).await;
        }
    }

    /// How many more units the gate would admit of a SKU; `None` when it has no counter for it.
    ///
    /// # Errors
    /// When the counters do not answer.
    pub async fn admissible(&self, sku: &Sku) -> Result<Option<i64>, Unavailable> {
        self.counters.left(sku).await
    }

    /// Whether the gate does its work, for health: while it stands open everything goes on, but each Reserve is the
    /// ledger's to refuse.
    ///
    /// # Errors
    /// Says so while it stands open.
    pub fn check(&self) -> Result<(), Unavailable> {
        if self.stands_open.load(Ordering::Relaxed) {
            return Err(Unavailable("the gate stands open; every Reserve goes to the ledger".to_owned()));
        }
        Ok(())
    }

    /// What it has done so far.
    pub fn totals(&self) -> Totals {
        let [asked, refused, failed_open] =
            [&self.asked, &self.refused, &self.failed_open].map(|counter| counter.load(Ordering::Relaxed));
        Totals { asked, refused, failed_open }
    }

    fn note(&self, reserve: &Reserve) -> bool {
        let (mut recent, now) = (self.recent(), Instant::now());
        reserve.lines.iter().fold(false, |is_new, (sku, _)| recent.note(sku, now) || is_new)
    }

    /// Notes whether a Reserve got its verdicts.
    fn heard(&self, missed: Option<Unavailable>) {
        let Some(why) = missed else {
            self.misses.store(0, Ordering::Relaxed);
            return;
        };
        self.failed_open.fetch_add(1, Ordering::Relaxed);
        if self.misses.fetch_add(1, Ordering::Relaxed) + 1 >= MISSES_MAX {
            self.open(&why);
            self.due.notify_one();
        }
    }

    fn open(&self, why: &Unavailable) {
        if !self.stands_open.swap(true, Ordering::Relaxed) {
            tracing::warn!(%why, "the gate stands open; every Reserve goes to the ledger");
        }
    }

    /// Gives back what was counted, if that can be done within the budget. Units that do not come back are missed only
    /// until the next look at the ledger.
    async fn give_back(&self, order_id: OrderId, pass: Pass) {
        let back = pass.counted.iter().map(|(sku, generation)| self.counters.give_back(sku, order_id, *generation));
        match timeout(self.budget(), join_all(back)).await {
            Ok(given) => {
                for why in given.into_iter().filter_map(Result::err) {
                    tracing::debug!(%why, "not given back to the gate");
                }
            }
            Err(_) => tracing::debug!("not given back to the gate in time"),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        // It is whole after every statement, whoever panicked.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        // It is whole after every statement, whoever panicked.
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    const fn budget(&self) -> Duration {
        Duration::from_millis(self.config.budget_ms)
    }

    const fn interval(&self) -> Duration {
        Duration::from_millis(self.config.interval_ms)
    }
}

/// The gate's "no": as the ledger's, but it speaks of this moment only.
fn out_of_stock(reserve: &Reserve, short: &[(usize, i64)]) -> Fault {
    let short = short.iter().filter_map(|(line, left)| Some((reserve.lines.get(*line)?, left)));
    let mut fault = Fault::new(Reason::OutOfStock, "not enough left").with("recorded", false);
    for ((sku, quantity), left) in short {
        if fault.preconditions.is_empty() {
            fault.message = format!("not enough left of {sku}: {quantity} wanted, {left} left");
        }
        fault = fault.with_precondition("STOCK", sku, format!("{quantity} wanted, {left} left"));
    }
    fault
}

#[cfg(test)]
mod tests;
