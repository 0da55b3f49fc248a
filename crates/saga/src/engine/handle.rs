//! A view of one saga for whoever asked for it. Nothing of the saga depends on it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    log::SagaRow,
    snapshot::{Fate, Snapshot},
};

/// A view of one saga. Its waiting methods also return when the saga leaves memory (waiting, parked, or because the engine
/// stops): the snapshot says how it stood then.
#[derive(Clone, Debug)]
pub struct Handle {
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

// === impl Handle ===

impl Handle {
    pub(super) fn new(mut snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        // What is there now is new to whoever gets this handle.
        snapshots.mark_changed();
        Self { snapshots }
    }

    /// A saga out of memory: one snapshot, and no more.
    pub(super) fn of_row(row: &SagaRow) -> Self {
        let (_, snapshots) = watch::channel(Arc::new(Snapshot::of_row(row)));
        Self { snapshots }
    }

    /// How the saga stands.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// The next snapshot that this handle has not given yet; `None` when the saga has left memory and there is none.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.snapshots.changed().await.ok()?;
        Some(Arc::clone(&self.snapshots.borrow_and_update()))
    }

    /// Waits until the caller can be answered: the steps for that are done, or a refusal or turning back is durable, or
    /// the saga waits for somebody, or has left memory undecided (see [`Snapshot::is_decided`]).
    pub async fn answer(&mut self) -> Arc<Snapshot> {
        self.wait_for(Snapshot::is_decided).await
    }

    /// Waits until it is certain which way the saga ends; [`Fate::Open`] when it left memory before.
    pub async fn settled(&mut self) -> Arc<Snapshot> {
        self.wait_for(|snapshot| snapshot.fate != Fate::Open).await
    }

    /// Waits until the saga has left memory: finished, waiting, parked, or because the engine stops.
    pub async fn left(&mut self) -> Arc<Snapshot> {
        self.wait_for(|snapshot| snapshot.status.is_final()).await
    }

    async fn wait_for(&mut self, found: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        if let Ok(snapshot) = self.snapshots.wait_for(|snapshot| found(snapshot)).await {
            return Arc::clone(&snapshot);
        }
        // The driver is gone; what it said last stands.
        self.snapshot()
    }
}
