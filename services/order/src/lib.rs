//! Orders: what was bought, where it stands, and how it came there.
//!
//! | room | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`domain`] | the order machine and its rules, pure |
//! | [`store`] | where orders are kept, and who is told when one moves |
//! | `rpc` | gRPC handlers, one file a verb |
//! | `worker` | the consumer of fulfilment's news |
//! | `metrics` | what it shows of itself |

pub mod config;
pub mod domain;
mod metrics;
mod rpc;
pub mod store;
mod worker;

use std::{future::ready, sync::Arc};

use spillway_contracts::{FILE_DESCRIPTOR_SET, order::v1::order_service_server::OrderServiceServer};
use spillway_middleware::Policies;
use spillway_runtime::{
    Server, ServerConfig,
    process::Section,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES, ServeError},
};
use spillway_storage::{
    Resources, StoreError, bus::Bus, database::Database, metrics as store_metrics, outbox::Relay, redis::Redis,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::config::Config;
use crate::{
    rpc::Api,
    store::{Opened, Orders, hub::Hub, opened::Workers, postgres::hints::Teller},
    worker::shipments::Shipments,
};

/// The file of the service's database, inside the data directory.
pub const DATABASE: &str = "order.db";

/// The service with its store open and its consumer subscribed, not serving yet.
pub struct Service {
    config: Config,
    api: Api,
    database: Database,
    relay: Relay<Orders>,
    workers: Workers,
    companions: Companions,
    bus: Arc<dyn Bus>,
}

/// What the service is slower without.
struct Companions {
    /// The read cache, and the bus.
    redis: Option<Redis>,
    /// What replicas tell each other.
    hints: Option<Teller>,
}

// === impl Service ===

impl Service {
    /// Opens the store. Consumers of every service subscribe before any service serves.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub async fn open(config: Config, resources: &Resources) -> Result<Self, StoreError> {
        let hub = Hub::new(config.watch.streams_max);
        let opened = store::open(&config.database, config.write, resources, &hub).await?;
        let Opened { database, committer, reader, lookup, workers, hints, feed } = opened;
        resources.bus.subscribe(Arc::new(Shipments::new(committer.clone())), database.letterbox());
        let relay = Relay::new(&database, committer.clone());
        let (lookup, clock) = (Arc::new(lookup), Arc::clone(&resources.clock));
        metrics::watch(&hub, &lookup, feed, hints.clone());
        let companions = Companions { redis: resources.redis.clone(), hints };
        let api = Api { committer, reader, lookup, hub, clock, watch: config.watch };
        Ok(Self { config, api, database, relay, workers, companions, bus: Arc::clone(&resources.bus) })
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
        let Self { config: _, api, database, relay, workers, companions, bus } = self;
        let (running, stop) = (TaskTracker::new(), CancellationToken::new());
        running.spawn(relay.run(bus, stop.clone()));
        running.spawn(store_metrics::watch(Config::NAME, &api.committer, &database, stop.clone()));
        workers.spawn(&running, &stop);
        running.close();

        let committer = api.committer.clone();
        let orders = OrderServiceServer::new(api)
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let server = Server::new(server, policies)
            .descriptors(FILE_DESCRIPTOR_SET)
            .service(orders)
            .probe("writer", move || ready(committer.check()))
            .probe("store", move || probe(database.clone()));
        let served = companions.beside(server).serve(listener, shutdown).await;
        stop.cancel();
        running.wait().await;
        served
    }
}

// === impl Companions ===

impl Companions {
    fn beside(self, mut server: Server) -> Server {
        if let Some(redis) = self.redis {
            server = server.companion("redis", move || ready(redis.check().map_err(|error| error.to_string())));
        }
        if let Some(hints) = self.hints {
            server = server.companion("hints", move || ready(hints.check()));
        }
        server
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

#[cfg(test)]
mod tests;
