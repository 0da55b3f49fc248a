//! Partitions come and go while the engine runs: whoever keeps the leases says so here.

use std::{collections::BTreeSet, pin::pin};

use spillway_types::id::Partition;
use tokio::time::Instant;

use super::{Engine, Shared};
use crate::context::SagaId;

// === impl Engine ===

impl Engine {
    /// Partitions are this process's from now on, each under the given epoch, which is higher than any it had before. What
    /// earlier drivers left there is taken up at once, if [`Self::recover`] runs.
    pub fn gain(&self, gained: &[(Partition, i64)]) {
        self.shared.lock().territory.gain(gained);
        self.shared.gained.notify_one();
    }

    /// Partitions are not this process's any more. Nothing new is begun in them once this is called; returns when their
    /// drivers are gone, with every call that they had in flight: only then may the partitions be gained again, or handed
    /// to somebody else. Whoever waits for one of their sagas goes on seeing it, as its next driver moves it.
    pub async fn lose(&self, lost: &[Partition]) {
        self.shared.dismiss(lost);
        let lost: BTreeSet<_> = lost.iter().copied().collect();
        loop {
            let mut left = pin!(self.shared.left.notified());
            left.as_mut().enable();
            if !self.shared.lock().active.keys().any(|id| lost.contains(&id.partition())) {
                return;
            }
            left.await;
        }
    }

    /// The leases hold until then; after that, nothing is begun until they are renewed again.
    pub fn renew(&self, until: Instant) {
        self.shared.lock().territory.renew(until);
    }

    /// A partition for a new saga, any that this process may start sagas in; `None` while it may not start any.
    pub fn any_partition(&self) -> Option<Partition> {
        self.shared.lock().territory.any(Instant::now(), &mut rand::rng())
    }
}

// === impl Shared ===

impl Shared {
    fn dismiss(&self, lost: &[Partition]) {
        let mut seats = self.lock();
        seats.territory.lose(lost);
        for (_, active) in seats.active.iter().filter(|(id, _)| lost.contains(&id.partition())) {
            active.halt.cancel();
        }
    }

    /// Whether a driver may go on.
    pub(super) fn may_drive(&self, id: SagaId, epoch: i64) -> bool {
        self.epoch(id) == Some(epoch)
    }
}
