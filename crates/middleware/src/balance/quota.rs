//! How many endpoints of a set may be ejected by their breakers at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Places for open breakers: half of the endpoints, and one at least. When more than half of them fail, the cause is
/// hardly theirs, and refusing the calls of all would only hide when it is over.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: AtomicUsize,
    taken: AtomicUsize,
}

/// One endpoint's leave to be ejected; given back on drop.
#[derive(Debug)]
pub(crate) struct Leave(Arc<Quota>);

// === impl Quota ===

impl Quota {
    /// A quota for `endpoints`.
    pub(crate) fn new(endpoints: usize) -> Arc<Self> {
        let quota = Self { limit: AtomicUsize::new(1), taken: AtomicUsize::new(0) };
        quota.resize(endpoints);
        Arc::new(quota)
    }

    /// From now on there are that many endpoints. Whoever is ejected stays so.
    pub(crate) fn resize(&self, endpoints: usize) {
        self.limit.store((endpoints / 2).max(1), Ordering::Relaxed);
    }

    /// A place, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Leave> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |taken: usize| (taken < limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Leave(Arc::clone(self)))
    }
}

// === impl Leave ===

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_endpoints_may_be_ejected_and_one_at_least() {
        for (endpoints, places) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (9, 4)] {
            let quota = Quota::new(endpoints);
            let leaves: Vec<_> = std::iter::from_fn(|| quota.take()).take(20).collect();
            assert_eq!(leaves.len(), places, "of {endpoints}");
            drop(leaves);
            assert!(quota.take().is_some(), "places come back");
        }
    }
}
