//! Payment: what is held, what is taken, what is given back; and the wallets of buyers.
//!
//! | room | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`domain`] | the rules of payments, points and coupons, pure |
//! | [`store`] | where they are kept |
//! | [`clients`] | the payment provider: the port, and the sandbox behind it |
//! | `rpc` | gRPC handlers, one file a verb |
//! | [`worker`] | settling with the provider, and the sweeper of what was left open |
//! | [`error`] | why the service cannot start |

pub mod clients;
pub mod config;
pub mod domain;
pub mod error;
mod rpc;
pub mod store;
pub mod worker;

use std::{sync::Arc, time::Duration};

use spillway_contracts::{
    FILE_DESCRIPTOR_SET,
    payment::v1::{payment_service_server::PaymentServiceServer, wallet_service_server::WalletServiceServer},
};
use spillway_middleware::Policies;
use spillway_runtime::{
    Server, ServerConfig,
    process::Section,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES},
};
use spillway_storage::{Resources, StoreError, bus::Bus, database::Database, metrics, outbox::Relay};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::{clients::sandbox::SCHEMA as SANDBOX_SCHEMA, config::Config, error::StartError};
use crate::{clients::sandbox::Sandbox, rpc::Api, store::Till, worker::settle::Settler};

/// The file of the service's database, inside the data directory.
pub const DATABASE: &str = "payment.db";
/// The file of the sandbox provider, beside it.
pub const SANDBOX_DATABASE: &str = "sandbox.db";

/// The service with its store open, not serving yet.
pub struct Service {
    config: Config,
    api: Api,
    database: Database,
    relay: Relay<Till>,
    bus: Arc<dyn Bus>,
}

// === impl Service ===

impl Service {
    /// Opens the store, and the sandbox's. Consumers of every service subscribe before any service serves.
    ///
    /// # Errors
    /// When a store cannot be opened.
    pub async fn open(config: Config, resources: &Resources) -> Result<Self, StartError> {
        let (database, committer, reader) = store::open(&config.database, config.write, resources).await?;
        let (limits, slow) = (config.sandbox.write, Duration::from_millis(config.sandbox.slow_ms));
        let sandbox = Sandbox::open(&config.sandbox_database(), limits, slow, resources).await?;
        let relay = Relay::new(&database, committer.clone());
        let patience = Duration::from_millis(config.provider_timeout_ms);
        let settler = Settler::new(committer.clone(), Arc::new(sandbox), patience);
        let api = Api { settler, committer, reader, clock: Arc::clone(&resources.clock) };
        Ok(Self { config, api, database, relay, bus: Arc::clone(&resources.bus) })
    }

    /// Brings the schema up to date, and the sandbox's, and nothing else.
    ///
    /// # Errors
    /// When the database does not answer, or its schema cannot be brought up to date.
    pub async fn migrate(config: &Config, resources: &Resources) -> Result<(), StoreError> {
        Database::migrate(&config.database, &resources.data, &store::SCHEMA).await?;
        Sandbox::migrate(&config.sandbox_database(), resources).await
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
    ) -> Result<(), StartError> {
        let Self { config, api, database, relay, bus } = self;
        let (workers, stop) = (TaskTracker::new(), CancellationToken::new());
        let interval = Duration::from_millis(config.settle_interval_ms);
        workers.spawn(api.settler.clone().sweep(Arc::clone(&api.reader), interval, stop.clone()));
        workers.spawn(relay.run(bus, stop.clone()));
        workers.spawn(metrics::watch(Config::NAME, &api.committer, &database, stop.clone()));
        workers.close();

        let committer = api.committer.clone();
        let payments = PaymentServiceServer::new(api.clone())
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let wallets = WalletServiceServer::new(api)
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let served = Server::new(server, policies)
            .descriptors(FILE_DESCRIPTOR_SET)
            .service(payments)
            .service(wallets)
            .probe("writer", move || std::future::ready(committer.check()))
            .probe("store", move || probe(database.clone()))
            .serve(listener, shutdown)
            .await;
        stop.cancel();
        workers.wait().await;
        Ok(served?)
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
