//! How long a step may take, how its retries are spaced, and how long doubt may last.

use std::time::Duration;

use rand::Rng;

/// The longest pause between two attempts of anything: what is stuck is looked at once a minute at least.
pub const BACKOFF_CEILING: Duration = Duration::from_secs(60);

/// The budgets of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPolicy {
    /// How long one attempt may take before its outcome counts as unknown. Above zero.
    pub attempt_timeout: Duration,
    /// The pauses between attempts.
    pub backoff: Backoff,
    /// How long the outcome may stay unknown before the saga turns back. Counts only while the saga can turn back.
    pub patience: Duration,
}

/// Exponential back-off with full jitter: the n-th pause is drawn evenly from nothing to `base * 2^(n-1)`, at most
/// `cap`. Full jitter spreads the retries of many sagas best (M. Brooker, "Exponential Backoff And Jitter").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper end of the first pause. Above zero.
    pub base: Duration,
    /// Upper end of any pause while patience lasts; at most [`BACKOFF_CEILING`].
    pub cap: Duration,
}

/// Why a policy is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// No attempt could ever end well.
    #[error("attempt_timeout must be above zero")]
    NoTime,
    /// Retries would spin.
    #[error("backoff.base must be above zero")]
    NoPause,
    /// Pauses could be longer than anybody wants to wait for a stuck saga.
    #[error("backoff.cap must lie between backoff.base and 60 s")]
    BadCap,
}

// === impl StepPolicy ===

impl Default for StepPolicy {
    /// Two seconds an attempt, pauses from 50 ms up to 2 s, ten seconds of patience.
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(2),
            backoff: Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) },
            patience: Duration::from_secs(10),
        }
    }
}

impl StepPolicy {
    pub(crate) fn check(&self) -> Result<(), BadPolicy> {
        if self.attempt_timeout.is_zero() {
            return Err(BadPolicy::NoTime);
        }
        if self.backoff.base.is_zero() {
            return Err(BadPolicy::NoPause);
        }
        if self.backoff.cap < self.backoff.base || self.backoff.cap > BACKOFF_CEILING {
            return Err(BadPolicy::BadCap);
        }
        Ok(())
    }
}

// === impl Backoff ===

impl Backoff {
    /// The pause after the `attempt`-th attempt (1 is the first), drawn from `rng`.
    pub fn pause(&self, attempt: u32, rng: &mut impl Rng) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let ceiling = self.base.saturating_mul(1_u32 << doublings).min(self.cap);
        let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(rng.random_range(0..=micros))
    }

    /// The same pauses where no patience bounds them: they grow up to [`BACKOFF_CEILING`].
    #[must_use]
    pub fn unhurried(self) -> Self {
        Self { cap: BACKOFF_CEILING, ..self }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_are_the_same_for_the_same_seed() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let draw = |seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            (1..=40).map(|attempt| backoff.pause(attempt, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        for (n, pause) in draw(7).into_iter().enumerate() {
            assert!(pause <= Duration::from_millis(100 << n.min(4)).min(Duration::from_secs(1)), "{n}: {pause:?}");
        }
        let longest = (0..200).flat_map(draw).max();
        assert!(longest > Some(Duration::from_millis(950)), "jitter is full: {longest:?}");
    }

    #[test]
    fn senseless_policies_are_refused() {
        let good = StepPolicy::default();
        assert_eq!(good.check(), Ok(()));
        assert_eq!(StepPolicy { attempt_timeout: Duration::ZERO, ..good }.check(), Err(BadPolicy::NoTime));
        for (base, cap, error) in [(0, 5, BadPolicy::NoPause), (5, 4, BadPolicy::BadCap), (5, 61, BadPolicy::BadCap)] {
            let backoff = Backoff { base: Duration::from_secs(base), cap: Duration::from_secs(cap) };
            assert_eq!(StepPolicy { backoff, ..good }.check(), Err(error));
        }
    }
}
