//! The saga engine as what works under the leases.

use async_trait::async_trait;
use spillway_saga::Engine;
use spillway_storage::leases::Tenant;
use spillway_types::id::Partition;
use tokio::time::Instant;

use crate::metrics::Moves;

/// Sagas, driven under leases.
#[derive(Debug)]
pub(super) struct Sagas {
    pub(super) engine: Engine,
    pub(super) moves: Moves,
}

#[async_trait]
impl Tenant for Sagas {
    fn renewed(&self, until: Instant) {
        self.engine.renew(until);
    }

    fn gained(&self, gained: &[(Partition, i64)]) {
        Moves::count(&self.moves.gained, gained.len());
        self.engine.gain(gained);
    }

    async fn lost(&self, lost: &[Partition]) {
        Moves::count(&self.moves.lost, lost.len());
        self.engine.lose(lost).await;
    }
}
