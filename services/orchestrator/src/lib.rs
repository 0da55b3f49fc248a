//! Orchestrator: the platform's door, and the sagas that carry orders through four other services.
//!
//! | room | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`domain`] | what an order is before it is placed, and what it costs; pure |
//! | [`saga`] | the sagas, one file each: the calls that make the domain happen |
//! | [`clients`] | the participants, behind one transport |
//! | [`store`] | the saga log |
//! | `worker` | recovery, and this replica's leases |
//! | `rpc` | gRPC handlers, one file a verb |
//! | `metrics` | what it shows of itself |
//! | [`error`] | why the service could not start |

pub mod clients;
pub mod config;
pub mod domain;
pub mod error;
mod metrics;
mod rpc;
pub mod saga;
pub mod store;
mod worker;

use std::sync::Arc;

use spillway_contracts::{
    FILE_DESCRIPTOR_SET,
    orchestrator::v1::{checkout_service_server::CheckoutServiceServer, saga_service_server::SagaServiceServer},
};
use spillway_middleware::{ClientConfig, Policies, Preset};
use spillway_runtime::{
    Server, ServerConfig,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES, ServeError},
};
use spillway_saga::{Engine, Log};
use spillway_storage::{Committer, Resources, StoreError, database::Database};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    clients::{
        Catalogue, Transport,
        grpc::{Participants, Unary},
    },
    rpc::Api,
    saga::place_order,
    store::{Opened, Reader, SagaLog, opened::Sharing},
    worker::Workers,
};
pub use crate::{config::Config, error::StartError};

/// The file of the service's database, inside the data directory.
pub const DATABASE: &str = "orchestrator.db";

/// How the service reaches its participants.
pub struct Links {
    /// For steps.
    pub transport: Arc<dyn Transport>,
    /// For quotes.
    pub catalogue: Arc<dyn Catalogue>,
}

/// The service with its log open, not serving yet.
pub struct Service {
    api: Api,
    committer: Committer<SagaLog>,
    reader: Arc<dyn Reader>,
    shared: Option<Sharing>,
}

// === impl Links ===

impl Links {
    /// Unary gRPC calls to the configured peers. Steps have the stack without retries, since the saga retries.
    ///
    /// # Errors
    /// When an address is none.
    pub fn grpc(config: &Config, client: &ClientConfig, policies: &Policies) -> Result<Self, StartError> {
        let connect = |uri: &str| spillway_runtime::connect(uri, client, policies, Preset::Step);
        let unary = Arc::new(Unary::new(Participants {
            inventory: connect(&config.peers.inventory)?,
            order: connect(&config.peers.order)?,
            payment: connect(&config.peers.payment)?,
            fulfilment: connect(&config.peers.fulfilment)?,
        }));
        Ok(Self { transport: Arc::clone(&unary) as Arc<dyn Transport>, catalogue: unary })
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

// === impl Service ===

impl Service {
    /// Opens the saga log. Unfinished sagas are taken up again from here on.
    ///
    /// # Errors
    /// When the log cannot be opened, or a saga's definition is not sound.
    pub async fn open(config: Config, links: Links, resources: &Resources) -> Result<Self, StartError> {
        let clock = Arc::clone(&resources.clock);
        let opened = store::open(&config.database, config.write, resources).await?;
        let log: Arc<dyn Log> = Arc::new(opened.log());
        let Opened { committer, reader, territory, shared } = opened;
        let definition = place_order::definition(&links.transport, config.step.policy())?;
        let seed = clock.now().as_micros().unsigned_abs();
        let engine = Engine::new([definition], Arc::clone(&log), Arc::clone(&clock), config.saga.engine(seed));
        let engine = engine.within(territory);
        Ok(Self { api: Api { engine, log, catalogue: links.catalogue, clock }, committer, reader, shared })
    }

    /// Brings the schema up to date, and nothing else.
    ///
    /// # Errors
    /// When the database does not answer, or its schema cannot be brought up to date.
    pub async fn migrate(config: &Config, resources: &Resources) -> Result<(), StoreError> {
        Database::migrate(&config.database, &resources.data, &store::SCHEMA).await
    }

    /// Serves until `shutdown`, then drains; sagas that are not finished by then go on after the next start.
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
        let Self { api, committer, reader, shared } = self;
        let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
        let workers = Workers::start(&api.engine, shared, &address);
        let checkout = CheckoutServiceServer::new(api.clone())
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let sagas = SagaServiceServer::new(api)
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let mut server = Server::new(server, policies)
            .descriptors(FILE_DESCRIPTOR_SET)
            .service(checkout)
            .service(sagas)
            .probe("writer", move || std::future::ready(committer.check()))
            .probe("store", move || {
                let reader = Arc::clone(&reader);
                async move { reader.check().await.map_err(|error| error.to_string()) }
            });
        if let Some(probe) = workers.leases_probe() {
            server = server.probe("leases", move || std::future::ready(probe()));
        }
        let served = server.serve(listener, shutdown).await;
        workers.stop().await;
        served
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("engine", &self.api.engine).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
