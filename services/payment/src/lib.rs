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

use std::{path::Path, sync::Arc, time::Duration};

use spillway_contracts::{
    FILE_DESCRIPTOR_SET,
    payment::v1::{payment_service_server::PaymentServiceServer, wallet_service_server::WalletServiceServer},
};
use spillway_middleware::Policies;
use spillway_runtime::{
    Server, ServerConfig,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES},
};
use spillway_storage::{bus::Bus, group_commit, outbox::Relay};
use spillway_types::Clock;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clients::sandbox::Sandbox,
    rpc::Api,
    store::{Reader, Till, sqlite},
    worker::settle::Settler,
};
pub use crate::{config::Config, error::StartError};

/// The file of the service's database, inside the data directory.
pub const DATABASE: &str = "payment.db";
/// The file of the sandbox provider, beside it.
pub const SANDBOX_DATABASE: &str = "sandbox.db";

/// The service with its store open, not serving yet.
pub struct Service {
    config: Config,
    api: Api,
    relay: Relay<Till>,
    bus: Arc<dyn Bus>,
}

// === impl Service ===

impl Service {
    /// Opens the store, and the sandbox's, in `data`. Consumers of every service subscribe before any service serves.
    ///
    /// # Errors
    /// When a store cannot be opened.
    pub async fn open<C: Clock>(
        config: Config,
        data: &Path,
        bus: Arc<dyn Bus>,
        clock: Arc<C>,
    ) -> Result<Self, StartError> {
        let (database, store, reader) = sqlite::open(&data.join(DATABASE), Arc::clone(&clock)).await?;
        let (limits, slow) = (config.sandbox.write, Duration::from_millis(config.sandbox.slow_ms));
        let sandbox = Sandbox::open(&data.join(SANDBOX_DATABASE), Arc::clone(&clock), limits, slow).await?;
        let committer = group_commit::spawn(store, config.write);
        let relay = Relay::new(database.readers().clone(), committer.clone());
        let patience = Duration::from_millis(config.provider_timeout_ms);
        let settler = Settler::new(committer.clone(), Arc::new(sandbox), patience);
        let api = Api { settler, committer, reader: Arc::new(reader), clock };
        Ok(Self { config, api, relay, bus })
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
        let Self { config, api, relay, bus } = self;
        let (workers, stop) = (TaskTracker::new(), CancellationToken::new());
        let interval = Duration::from_millis(config.settle_interval_ms);
        let (settler, clock) = (api.settler.clone(), Arc::clone(&api.clock));
        workers.spawn(settler.sweep(Arc::clone(&api.reader), clock, interval, stop.clone()));
        workers.spawn(relay.run(bus, stop.clone()));
        workers.close();

        let (committer, reader) = (api.committer.clone(), Arc::clone(&api.reader));
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
            .probe("store", move || ready(Arc::clone(&reader)))
            .serve(listener, shutdown)
            .await;
        stop.cancel();
        workers.wait().await;
        Ok(served?)
    }
}

async fn ready(reader: Arc<dyn Reader>) -> Result<(), String> {
    reader.check().await.map_err(|error| error.to_string())
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}
