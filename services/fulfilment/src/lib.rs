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

use std::{path::Path, sync::Arc};

use spillway_contracts::{
    FILE_DESCRIPTOR_SET,
    fulfilment::v1::{
        fulfilment_service_server::FulfilmentServiceServer, warehouse_service_server::WarehouseServiceServer,
    },
};
use spillway_middleware::Policies;
use spillway_runtime::{
    Server, ServerConfig,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES, ServeError},
};
use spillway_storage::{StoreError, bus::Bus, group_commit, outbox::Relay};
use spillway_types::Clock;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::config::Config;
use crate::{
    rpc::Api,
    store::{Desk, sqlite},
};

/// The file of the service's database, inside the data directory.
pub const DATABASE: &str = "fulfilment.db";

/// The service with its store open, not serving yet.
pub struct Service {
    config: Config,
    api: Api,
    relay: Relay<Desk>,
    bus: Arc<dyn Bus>,
}

// === impl Service ===

impl Service {
    /// Opens the store in `data`. Consumers of every service subscribe before any service serves.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub async fn open<C: Clock>(
        config: Config,
        data: &Path,
        bus: Arc<dyn Bus>,
        clock: Arc<C>,
    ) -> Result<Self, StoreError> {
        let (database, store, reader) = sqlite::open(&data.join(DATABASE), clock).await?;
        let committer = group_commit::spawn(store, config.write);
        if config.default_warehouse {
            worker::open_default_warehouse(&committer, &reader).await?;
        }
        let relay = Relay::new(database.readers().clone(), committer.clone());
        Ok(Self { config, api: Api { committer, reader: Arc::new(reader) }, relay, bus })
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
        let Self { api, relay, bus, config: _ } = self;
        let (workers, stop) = (TaskTracker::new(), CancellationToken::new());
        workers.spawn(relay.run(bus, stop.clone()));
        workers.close();

        let (committer, reader) = (api.committer.clone(), Arc::clone(&api.reader));
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
            .probe("store", move || {
                let reader = Arc::clone(&reader);
                async move { reader.check().await.map_err(|error| error.to_string()) }
            })
            .serve(listener, shutdown)
            .await;
        stop.cancel();
        workers.wait().await;
        served
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}
