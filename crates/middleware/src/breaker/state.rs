//! The state machine of the breaker: pure. Time is an argument (since the breaker was made), and so is chance.

use std::{sync::Arc, time::Duration};

use crate::{
    balance::{Leave, Quota},
    config::BreakerConfig,
};

/// Buckets of the window: the oldest tenth is forgotten at a time.
const BUCKETS: usize = 10;

/// The upper end of a [`Roll`].
pub(crate) const ROLL_MAX: u32 = 500;

/// A random number from 0 to [`ROLL_MAX`], which makes a time open up to a quarter shorter or longer: breakers that
/// opened together do not probe together.
pub(crate) type Roll = u32;

/// The right to make one call, to be handed back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    generation: u64,
}

/// How a call went, as far as the health of the target goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target answered; a refusal is an answer too.
    Answered {
        /// It took too long.
        slow: bool,
    },
    /// The target did not do its work.
    Failed,
    /// Says nothing about the target: the caller went away, or we did not even send.
    Ignored,
}

/// The breaker of one target.
#[derive(Debug)]
pub(crate) struct Machine {
    config: BreakerConfig,
    state: State,
    /// Counts transitions, so that the outcome of a call made in an earlier state is recognised and ignored.
    generation: u64,
    /// How often it opened since it was last closed: each time it stays open for longer.
    openings: u32,
    quota: Arc<Quota>,
    /// Held while not closed.
    leave: Option<Leave>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a target, and nearly always the largest variant")]
enum State {
    Closed(Window),
    Open { until: Duration },
    HalfOpen { until: Duration, permits: u32, good: u32, bad: u32 },
}

/// Outcomes of the last while, in a ring of buckets.
#[derive(Debug, Default)]
struct Window {
    buckets: [Bucket; BUCKETS],
    /// The bucket of which the ring was last brought up to date, counted from the beginning of time.
    head: u128,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    calls: u64,
    failed: u64,
    slow: u64,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn new(config: &BreakerConfig, quota: &Arc<Quota>) -> Self {
        Self {
            config: config.clone(),
            state: State::Closed(Window::default()),
            generation: 0,
            openings: 0,
            quota: Arc::clone(quota),
            leave: None,
        }
    }

    /// Lets a call through, or says how long to leave the target alone.
    pub(crate) fn admit(&mut self, now: Duration, roll: Roll) -> Result<Ticket, Duration> {
        self.pass_time(now, roll);
        let ticket = Ticket { generation: self.generation };
        match &mut self.state {
            State::Closed(_) => Ok(ticket),
            State::Open { until } => Err(*until - now),
            State::HalfOpen { permits: 0, until, .. } => Err(*until - now),
            State::HalfOpen { permits, .. } => {
                *permits -= 1;
                Ok(ticket)
            }
        }
    }

    /// Takes the outcome of a call in.
    pub(crate) fn report(&mut self, ticket: Ticket, outcome: Outcome, now: Duration, roll: Roll) {
        self.pass_time(now, roll);
        if ticket.generation != self.generation {
            return;
        }
        match &mut self.state {
            State::Closed(window) => {
                window.record(now, outcome, &self.config);
                // ## Closed => (Open)
                // Enough calls in the window, too many of them failed or slow, and not too many neighbours open: then
                // the cause is hardly this target's, and it goes on.
                if window.is_sick(&self.config) {
                    self.leave = self.quota.take();
                    if self.leave.is_some() {
                        self.open(now, roll);
                    }
                }
            }
            // No ticket is of this generation: opening made a new one, and while open none is given.
            State::Open { .. } => {}
            State::HalfOpen { permits, good, bad, .. } => {
                match outcome {
                    // A probe that tells nothing gives its permit back, or probing would run out of them.
                    Outcome::Ignored => *permits += 1,
                    Outcome::Answered { slow: false } => *good += 1,
                    Outcome::Answered { slow: true } | Outcome::Failed => *bad += 1,
                }
                if *good >= self.config.probes_needed {
                    // ## HalfOpen => (Closed)
                    // The target is well: what was before is forgotten.
                    self.openings = 0;
                    self.leave = None;
                    self.become_(State::Closed(Window::default()));
                } else if *bad > self.config.probes - self.config.probes_needed {
                    // ## HalfOpen => (Open)
                    // The probes that are left cannot make it any more.
                    self.open(now, roll);
                }
            }
        }
    }

    /// Until when every call is refused, if it is open.
    pub(crate) fn open_until(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed(_) | State::HalfOpen { .. } => None,
        }
    }

    /// Whether calls pass as usual.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    fn pass_time(&mut self, now: Duration, roll: Roll) {
        match &mut self.state {
            State::Closed(window) => window.advance(now, &self.config),
            // ## Open => (HalfOpen)
            // It was left alone for long enough.
            State::Open { until } if *until <= now => {
                let until = now + Duration::from_millis(self.config.probing_max_ms);
                self.become_(State::HalfOpen { until, permits: self.config.probes, good: 0, bad: 0 });
            }
            // ## HalfOpen => (Open)
            // Probes that hang are an answer as well.
            State::HalfOpen { until, .. } if *until <= now => self.open(now, roll),
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    fn open(&mut self, now: Duration, roll: Roll) {
        let doubled = self.config.open_ms.saturating_mul(1u64.checked_shl(self.openings).unwrap_or(u64::MAX));
        let length = Duration::from_millis(doubled.min(self.config.open_max_ms)) * (750 + roll.min(ROLL_MAX)) / 1_000;
        self.openings = self.openings.saturating_add(1);
        self.become_(State::Open { until: now + length });
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

// === impl Window ===

impl Window {
    /// Forgets what has become too old.
    fn advance(&mut self, now: Duration, config: &BreakerConfig) {
        let head = bucket_at(now, config);
        // After a pause longer than the window every bucket is old; no need to walk the whole pause.
        let steps = (head.saturating_sub(self.head)).min(BUCKETS as u128);
        for step in 0..steps {
            self.buckets[slot(head - step)] = Bucket::default();
        }
        self.head = self.head.max(head);
    }

    fn record(&mut self, now: Duration, outcome: Outcome, config: &BreakerConfig) {
        let bucket = &mut self.buckets[slot(bucket_at(now, config))];
        match outcome {
            Outcome::Ignored => return,
            Outcome::Answered { slow } => bucket.slow += u64::from(slow),
            Outcome::Failed => bucket.failed += 1,
        }
        bucket.calls += 1;
    }

    fn is_sick(&self, config: &BreakerConfig) -> bool {
        let sum = |part: fn(&Bucket) -> u64| self.buckets.iter().map(part).sum::<u64>();
        let calls = sum(|bucket| bucket.calls);
        let share = |part: u64, percent: u32| part * 100 >= calls * u64::from(percent);
        calls >= u64::from(config.min_calls)
            && (share(sum(|bucket| bucket.failed), config.failure_percent)
                || share(sum(|bucket| bucket.slow), config.slow_percent))
    }
}

fn bucket_at(now: Duration, config: &BreakerConfig) -> u128 {
    now.as_millis() * BUCKETS as u128 / u128::from(config.window_ms)
}

fn slot(bucket: u128) -> usize {
    // Less than ten always fits.
    usize::try_from(bucket % BUCKETS as u128).unwrap_or_default()
}

#[cfg(test)]
mod tests;
