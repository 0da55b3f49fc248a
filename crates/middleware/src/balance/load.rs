//! What a call to an endpoint costs: calls in flight there, times how badly it did lately.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use spillway_types::Code;
use tokio::time::Instant;

use super::is_bad;
use crate::classify::Observer;

/// Badness of an endpoint of which every call fails; well is 0.
const WORST: u64 = 1_024;

/// One outcome moves the badness by this part: a failure in passing is hardly seen, sixteen in a row are.
const WEIGHT: u64 = 16;

/// The badness halves in this time without an outcome, so that an endpoint that gets no calls gets some again.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// How much dearer the worst endpoint is than a good one with as many calls in flight.
const WORST_TIMES: u64 = 16;

/// After an endpoint said that it is going it gets no calls for so long; by then its connection is closed.
const LEAVING: Duration = Duration::from_secs(1);

/// The load of one endpoint.
#[derive(Debug)]
pub(crate) struct Load {
    origin: Instant,
    in_flight: AtomicUsize,
    badness: AtomicU64,
    /// When the badness was last written, in microseconds since the origin.
    noted_at: AtomicU64,
    /// Until when it is left alone because it is going, in microseconds since the origin.
    left_alone_until: AtomicU64,
}

/// A call in flight: counts from its making to its drop.
#[derive(Debug)]
pub(crate) struct Flight(Arc<Load>);

// === impl Load ===

impl Load {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            in_flight: AtomicUsize::new(0),
            badness: AtomicU64::new(0),
            noted_at: AtomicU64::new(0),
            left_alone_until: AtomicU64::new(0),
        })
    }

    /// What one more call costs here, in no particular unit.
    pub(crate) fn cost(&self) -> u64 {
        let calls = u64::try_from(self.in_flight.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        calls.saturating_add(1).saturating_mul(WORST + (WORST_TIMES - 1) * self.badness(self.now()))
    }

    /// Begins a call.
    pub(crate) fn begin(self: &Arc<Self>) -> Flight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight(Arc::clone(self))
    }

    /// Takes an outcome in. Racing threads may lose one of two, which costs nothing but a little accuracy.
    pub(crate) fn note(&self, code: Code) {
        let now = self.now();
        let badness = self.badness(now);
        let next = match is_bad(code.class()) {
            true => badness + (WORST - badness).div_ceil(WEIGHT),
            false => badness - badness.div_ceil(WEIGHT),
        };
        self.badness.store(next, Ordering::Relaxed);
        self.noted_at.store(now, Ordering::Relaxed);
    }

    /// The endpoint said that it is going.
    pub(crate) fn leave_alone(&self) {
        let until = self.now() + u64::try_from(LEAVING.as_micros()).unwrap_or(u64::MAX);
        self.left_alone_until.store(until, Ordering::Relaxed);
    }

    /// Whether it is to be left alone because it is going.
    pub(crate) fn is_leaving(&self) -> bool {
        self.left_alone_until.load(Ordering::Relaxed) > self.now()
    }

    fn badness(&self, now: u64) -> u64 {
        let idle = Duration::from_micros(now.saturating_sub(self.noted_at.load(Ordering::Relaxed)));
        let halvings = u32::try_from(idle.as_millis() / HALF_LIFE.as_millis()).unwrap_or(u32::MAX);
        self.badness.load(Ordering::Relaxed).checked_shr(halvings).unwrap_or(0)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

// === impl Flight ===

impl Observer for Flight {
    fn ended(self, code: Code) {
        self.0.note(code);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_cost_until_they_are_dropped() {
        let load = Load::new();
        let idle = load.cost();
        let flights: Vec<_> = (0..3).map(|_| load.begin()).collect();
        assert_eq!(load.cost(), 4 * idle);
        drop(flights);
        assert_eq!(load.cost(), idle);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_cost_and_are_forgotten() {
        let load = Load::new();
        let well = load.cost();
        load.note(Code::Unavailable);
        assert!(load.cost() < 2 * well, "one failure is hardly seen");
        (0..60).for_each(|_| load.note(Code::Unavailable));
        assert!(load.cost() > 14 * well, "{} of {well}", load.cost());
        advance(Duration::from_secs(12)).await;
        assert_eq!(load.cost(), well, "time mends it");
        (0..60).for_each(|_| load.note(Code::Internal));
        (0..200).for_each(|_| load.note(Code::FailedPrecondition));
        assert_eq!(load.cost(), well, "and so do answers, of which a refusal is one");
    }
}
