//! What runs beside the handlers: recovery, and what it takes to share sagas with other replicas.

mod tenant;

use std::{fmt, sync::Arc};

use spillway_saga::Engine;
use spillway_storage::leases::Leases;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::tenant::Sagas;
use crate::{
    metrics::{self, Moves},
    store::opened::Sharing,
};

/// Everything that runs beside the handlers.
pub(crate) struct Workers {
    engine: Engine,
    recovery: JoinHandle<()>,
    leases: Option<Leases>,
    listening: CancellationToken,
}

// === impl Workers ===

impl Workers {
    /// Starts them. Other replicas, if there can be any, know this one by its address.
    pub(crate) fn start(engine: &Engine, shared: Option<Sharing>, address: &str) -> Self {
        let recovering = engine.clone();
        let recovery = tokio::spawn(async move { recovering.recover().await });
        let listening = CancellationToken::new();
        let leases = shared.map(|Sharing { database, listener }| {
            tokio::spawn(listener.run(listening.clone()));
            let sagas = Sagas { engine: engine.clone(), moves: Moves::new() };
            let leases = Leases::keep(database, address.to_owned(), Arc::new(sagas));
            metrics::show_leases(&leases.standing());
            leases
        });
        metrics::show_sagas(engine);
        Self { engine: engine.clone(), recovery, leases, listening }
    }

    /// Whether this replica may drive sagas at this moment; nothing to ask where there is one process only.
    pub(crate) fn leases_probe(&self) -> Option<impl Fn() -> Result<(), String> + Clone + use<>> {
        self.leases.as_ref().map(Leases::probe)
    }

    /// Lets calls in flight end, then leaves every saga to the other replicas, or to the next process.
    pub(crate) async fn stop(self) {
        self.engine.shutdown().await;
        if let Some(leases) = self.leases {
            leases.hand_back().await;
        }
        self.listening.cancel();
        if let Err(error) = self.recovery.await {
            tracing::error!(%error, "recovery ended badly");
        }
    }

    /// Ends as a crash would.
    #[cfg(test)]
    pub(crate) async fn crash(self) {
        self.engine.halt().await;
        if let Some(leases) = self.leases {
            leases.abandon().await;
        }
        self.listening.cancel();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("leases", &self.leases).finish_non_exhaustive()
    }
}
