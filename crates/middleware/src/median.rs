//! How long a method usually takes: a running median in one atomic.
//!
//! The estimate moves a sixteenth towards each sample, whatever its size ("frugal streaming", Ma, Muthukrishnan and
//! Sandler, 2013), so that outliers do not pull it, and so that it needs neither memory nor a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A running median of durations; zero until the first sample.
#[derive(Debug, Default)]
pub(crate) struct Median(AtomicU64);

impl Median {
    /// The estimate.
    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Takes a sample in. Lost updates of racing threads cost nothing but a little accuracy.
    pub(crate) fn record(&self, sample: Duration) {
        let sample = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        let median = self.0.load(Ordering::Relaxed);
        let next = match median {
            0 => sample,
            _ if sample > median => median.saturating_add(median / 16 + 1),
            _ if sample < median => median - median / 16,
            _ => median,
        };
        self.0.store(next, Ordering::Relaxed);
    }

    /// Moves a little down, when a call was refused because of the estimate: otherwise an estimate that went too high
    /// would refuse every call that could correct it.
    pub(crate) fn doubt(&self) {
        let median = self.0.load(Ordering::Relaxed);
        self.0.store(median - median / 16, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_settles_at_the_median_and_outliers_do_not_pull_it() {
        let median = Median::default();
        for round in 0..2_000u64 {
            let outlier = round % 5 == 0;
            median.record(if outlier { Duration::from_secs(9) } else { Duration::from_millis(8 + round % 5) });
        }
        let estimate = median.get();
        assert!((7..=13).contains(&estimate.as_millis()), "{estimate:?}");
    }

    #[test]
    fn an_estimate_that_refuses_calls_comes_down_by_itself() {
        let median = Median::default();
        median.record(Duration::from_secs(3));
        for _ in 0..100 {
            median.doubt();
        }
        assert!(median.get() < Duration::from_millis(10), "{:?}", median.get());
    }
}
