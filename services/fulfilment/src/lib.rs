//! Fulfilment: which warehouse sends what, and where each parcel stands.
//!
//! | room | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`domain`] | planning and the states of parcels, pure |
//! | [`store`] | where warehouses, plans and shipments are kept |
//! | `rpc` | gRPC handlers, one file a verb |
//! | `worker` | the opening of the first warehouse |

pub mod config;
pub mod domain;
mod rpc;
pub mod store;
mod worker;

use std::sync::Arc;

use spillway_contracts::{
    FILE_DESCRIPTOR_SET,
    fulfilment::v1::{
        fulfilment_service_server::FulfilmentServiceServer, warehouse_service_server::WarehouseServiceServer,
    },
};
use spillway_middleware::Policies;
use spillway_runtime::{
    Server, ServerConfig,
    process::Section,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES, ServeError},
};
use spillway_storage::{Resources, StoreError, bus::Bus, database::Database, metrics, outbox::Relay};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::config::Config;
use crate::{rpc::Api, store::Desk};

/// The file of the service's database, inside the data directory.
pub const DATABASE: &str = "fulfilment.db";

/// The service with its store open, not serving yet.
pub struct Service {
    config: Config,
    api: Api,
    /// Whether the default warehouse has been seen to.
    is_furnished: bool,
    database: Database,
    relay: Relay<Desk>,
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
        // What keeps a database from answering now is told when it is tried again.
        let opened =
            if config.default_warehouse { worker::open_default_warehouse(&committer, &*reader).await } else { Ok(()) };
        let relay = Relay::new(&database, committer.clone());
        let api = Api { committer, reader };
        Ok(Self { config, api, is_furnished: opened.is_ok(), database, relay, bus: Arc::clone(&resources.bus) })
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
        let Self { api, is_furnished, database, relay, bus, config: _ } = self;
        let (workers, stop) = (TaskTracker::new(), CancellationToken::new());
        workers.spawn(relay.run(bus, stop.clone()));
        workers.spawn(metrics::watch(Config::NAME, &api.committer, &database, stop.clone()));
        if !is_furnished {
            let (committer, reader) = (api.committer.clone(), Arc::clone(&api.reader));
            workers.spawn(worker::insist_on_default_warehouse(committer, reader, stop.clone()));
        }
        workers.close();

        let committer = api.committer.clone();
        let fulfilment = FulfilmentServiceServer::new(api.clone())
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let warehouses = WarehouseServiceServer::new(api)
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let served = Server::new(server, policies)
            .descriptors(FILE_DESCRIPTOR_SET)
            .service(fulfilment)
            .service(warehouses)
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
