//! Inventory: what there is, what is promised, what is sold. Sold exactly to zero.
//!
//! | room | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`domain`] | the ledger's rules, pure |
//! | [`store`] | where the ledger is kept |
//! | `rpc` | gRPC handlers, one file a verb |
//! | `worker` | the sweeper of lapsed promises, and what keeps the gate in step |
//! | `metrics` | what it shows of itself |

pub mod config;
pub mod domain;
mod metrics;
mod rpc;
pub mod store;
mod worker;

use std::{sync::Arc, time::Duration};

use spillway_contracts::{FILE_DESCRIPTOR_SET, inventory::v1::inventory_service_server::InventoryServiceServer};
use spillway_middleware::Policies;
use spillway_runtime::{
    Server, ServerConfig,
    process::Section,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES, ServeError},
};
use spillway_storage::{Resources, StoreError, bus::Bus, database::Database, metrics as store_metrics, outbox::Relay};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::config::Config;
use crate::{
    rpc::Api,
    store::{
        Ledger,
        gate::{Counters, Gate, memory::MemoryCounters, redis::RedisCounters},
    },
};

/// The file of the service's database, inside the data directory.
pub const DATABASE: &str = "inventory.db";

/// The service with its store open, not serving yet.
pub struct Service {
    config: Config,
    api: Api,
    database: Database,
    relay: Relay<Ledger>,
    bus: Arc<dyn Bus>,
}

// === impl Service ===

impl Service {
    /// Opens the store. Consumers of every service subscribe before any service serves.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub async fn open(config: Config, resources: &Resources) -> Result<Self, StoreError> {
        let (database, committer, reader) = store::open(&config.database, config.write, resources).await?;
        let relay = Relay::new(&database, committer.clone());
        let counters: Arc<dyn Counters> = match &resources.redis {
            Some(redis) => Arc::new(RedisCounters::new(redis.clone())),
            None => Arc::new(MemoryCounters::new()),
        };
        let gate = Arc::new(Gate::new(counters, config.gate));
        let api = Api { committer, reader, gate };
        Ok(Self { config, api, database, relay, bus: Arc::clone(&resources.bus) })
    }

    /// The gate before the ledger, for whoever watches it.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.api.gate)
    }

    /// Brings the schema up to date, and nothing else.
    ///
    /// # Errors
    /// When the database does not answer, or its schema cannot be brought up to date.
    pub async fn migrate(config: &Config, resources: &Resources) -> Result<(), StoreError> {
        Database::migrate(&config.database, &resources.data, &store::SCHEMA).await
    }

    /// Serves until `shutdown`, then drains.
    ///
    /// # Errors
    /// When the server cannot serve.
    pub async fn serve(
        self,
        server: &ServerConfig,
        policies: &Policies,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let Self { config, api, database, relay, bus } = self;
        let (workers, stop) = (TaskTracker::new(), CancellationToken::new());
        let interval = Duration::from_millis(config.sweep_interval_ms);
        workers.spawn(worker::sweep(api.committer.clone(), interval, stop.clone()));
        workers.spawn(worker::reconcile(Arc::clone(&api.gate), Arc::clone(&api.reader), stop.clone()));
        workers.spawn(relay.run(bus, stop.clone()));
        workers.spawn(store_metrics::watch(Config::NAME, &api.committer, &database, stop.clone()));
        workers.close();
        metrics::watch(&api.gate);

        let committer = api.committer.clone();
        let inventory = InventoryServiceServer::new(api)
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let served = Server::new(server, policies)
            .descriptors(FILE_DESCRIPTOR_SET)
            .service(inventory)
            .probe("writer", move || std::future::ready(committer.check()))
            .probe("store", move || probe(database.clone()))
            .serve(listener, shutdown)
            .await;
        stop.cancel();
        workers.wait().await;
        served
    }
}

async fn probe(database: Database) -> Result<(), String> {
    database.check().await.map_err(|error| error.to_string())
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}
