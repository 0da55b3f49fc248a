//! Orchestrator: the platform's door, and the sagas that carry orders through four other services.
//!
//! | room | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`domain`] | what an order is before it is placed, and what it costs; pure |
//! | [`saga`] | the sagas, one file each: the calls that make the domain happen |
//! | [`clients`] | the participants, behind one transport |
//! | [`store`] | the saga log |
//! | `rpc` | gRPC handlers, one file a verb |
//! | [`error`] | why the service could not start |

pub mod clients;
pub mod config;
pub mod domain;
pub mod error;
mod rpc;
pub mod saga;
pub mod store;

use std::{path::Path, sync::Arc};

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
use spillway_storage::group_commit::{self, Committer};
use spillway_types::Clock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    clients::{
        Catalogue, Transport,
        grpc::{Participants, Unary},
    },
    rpc::Api,
    saga::place_order,
    store::{
        DurableLog, Reader, SagaLog,
        sqlite::{self, SqliteReader},
    },
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
    reader: SqliteReader,
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
    /// Opens the saga log in `data`. Unfinished sagas are taken up again from here on.
    ///
    /// # Errors
    /// When the log cannot be opened, or a saga's definition is not sound.
    pub async fn open<C: Clock>(config: Config, data: &Path, links: Links, clock: Arc<C>) -> Result<Self, StartError> {
        let (store, reader, epoch) = sqlite::open(&data.join(DATABASE), Arc::clone(&clock)).await?;
        let committer = group_commit::spawn(store, config.write);
        let log: Arc<dyn Log> = Arc::new(DurableLog::new(committer.clone(), reader.clone()));
        let definition = place_order::definition(&links.transport, config.step.policy())?;
        let seed = clock.now().as_micros().unsigned_abs();
        let clock: Arc<dyn Clock> = clock;
        let engine = Engine::new([definition], Arc::clone(&log), Arc::clone(&clock), config.saga.engine(seed));
        Ok(Self { api: Api { engine, log, catalogue: links.catalogue, clock, epoch }, committer, reader })
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
        let Self { api, committer, reader } = self;
        let engine = api.engine.clone();
        let recovering = engine.clone();
        let recovery = tokio::spawn(async move { recovering.recover().await });
        let checkout = CheckoutServiceServer::new(api.clone())
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let sagas = SagaServiceServer::new(api)
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let served = Server::new(server, policies)
            .descriptors(FILE_DESCRIPTOR_SET)
            .service(checkout)
            .service(sagas)
            .probe("writer", move || std::future::ready(committer.check()))
            .probe("store", move || {
                let reader = reader.clone();
                async move { reader.check().await.map_err(|error| error.to_string()) }
            })
            .serve(listener, shutdown)
            .await;
        engine.shutdown().await;
        if let Err(error) = recovery.await {
            tracing::error!(%error, "recovery ended badly");
        }
        served
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("engine", &self.api.engine).finish_non_exhaustive()
    }
}
