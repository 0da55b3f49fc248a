//! The platform in one process: five gRPC servers on real ports, a database file each, one event bus between them.

use std::{io, net::SocketAddr};

use spillway_middleware::Policies;
use spillway_orchestrator::Links;
use spillway_runtime::{Admin, policies, process};
use spillway_storage::Resources;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;

/// Why the platform could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// A port or the data directory is not to be had.
    #[error("{service}: {source}")]
    Listen {
        /// Whose port.
        service: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A service could not start, or its server failed.
    #[error("{service}: {source}")]
    Service {
        /// Which.
        service: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server's task ended badly.
    #[error("a server ended badly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Where the five services listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Checkout and sagas.
    pub orchestrator: SocketAddr,
    /// Orders.
    pub order: SocketAddr,
    /// Stock.
    pub inventory: SocketAddr,
    /// Payments and wallets.
    pub payment: SocketAddr,
    /// Shipments and warehouses.
    pub fulfilment: SocketAddr,
}

/// The running platform.
#[derive(Debug)]
pub struct Platform {
    addresses: Addresses,
    shutdown: CancellationToken,
    servers: JoinSet<Result<(), PlatformError>>,
    admin: Admin,
}

// === impl Platform ===

impl Platform {
    /// Starts all five services. Ports are taken before anything is opened, so that a second start harms nothing.
    ///
    /// # Errors
    /// When a port, the data directory or a store is not to be had.
    pub async fn start(settings: Settings) -> Result<Self, PlatformError> {
        Self::start_with(settings, |links| links).await
    }

    /// Starts all five services, with something put around the orchestrator's way to its participants.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        mut settings: Settings,
        around: impl FnOnce(Links) -> Links,
    ) -> Result<Self, PlatformError> {
        let listeners = Listeners::bind(&settings)?;
        let addresses = listeners.addresses()?;
        let peers = &mut settings.orchestrator.peers;
        peers.order = format!("http://{}", addresses.order);
        peers.inventory = format!("http://{}", addresses.inventory);
        peers.payment = format!("http://{}", addresses.payment);
        peers.fulfilment = format!("http://{}", addresses.fulfilment);
        let shutdown = CancellationToken::new();
        let (servers, admin) = serve(settings, listeners, around, &shutdown).await?;
        Ok(Self { addresses, shutdown, servers, admin })
    }

    /// Where it listens.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Where operators and scrapers ask, if they can.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Runs until `shutdown` or until a server fails, then drains and ends.
    ///
    /// # Errors
    /// The first server's error, if there was one.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), PlatformError> {
        tokio::select! {
            () = shutdown.cancelled() => self.stop().await,
            Some(ended) = self.servers.join_next() => {
                let rest = self.stop().await;
                ended?.and(rest)
            }
        }
    }

    /// Drains and ends.
    ///
    /// # Errors
    /// The first server's error, if there was one.
    pub async fn stop(mut self) -> Result<(), PlatformError> {
        self.shutdown.cancel();
        let mut result = Ok(());
        while let Some(ended) = self.servers.join_next().await {
            result = result.and(ended?);
        }
        result
    }
}

/// The ports, taken.
struct Listeners {
    orchestrator: TcpListener,
    order: TcpListener,
    inventory: TcpListener,
    payment: TcpListener,
    fulfilment: TcpListener,
}

// === impl Listeners ===

impl Listeners {
    fn bind(settings: &Settings) -> Result<Self, PlatformError> {
        let bind =
            |service, address| process::listen(address).map_err(|source| PlatformError::Listen { service, source });
        Ok(Self {
            orchestrator: bind("orchestrator", settings.orchestrator.listen)?,
            order: bind("order", settings.order.listen)?,
            inventory: bind("inventory", settings.inventory.listen)?,
            payment: bind("payment", settings.payment.listen)?,
            fulfilment: bind("fulfilment", settings.fulfilment.listen)?,
        })
    }

    fn addresses(&self) -> Result<Addresses, PlatformError> {
        let address = |service, listener: &TcpListener| {
            listener.local_addr().map_err(|source| PlatformError::Listen { service, source })
        };
        Ok(Addresses {
            orchestrator: address("orchestrator", &self.orchestrator)?,
            order: address("order", &self.order)?,
            inventory: address("inventory", &self.inventory)?,
            payment: address("payment", &self.payment)?,
            fulfilment: address("fulfilment", &self.fulfilment)?,
        })
    }
}

/// Opens every store, so that every consumer has subscribed, and only then lets anybody serve.
async fn serve(
    settings: Settings,
    listeners: Listeners,
    around: impl FnOnce(Links) -> Links,
    shutdown: &CancellationToken,
) -> Result<(JoinSet<Result<(), PlatformError>>, Admin), PlatformError> {
    let Settings { admin, data, server, client, order, inventory, payment, fulfilment, orchestrator, .. } = settings;
    let (policies, resources) = (policies(), Resources::embedded(data));
    let admin = Admin::start(&admin, &server, &resources.bus).await;
    let order = spillway_order::Service::open(order, &resources).await.map_err(failed("order"))?;
    let inventory = spillway_inventory::Service::open(inventory, &resources).await.map_err(failed("inventory"))?;
    let payment = spillway_payment::Service::open(payment, &resources).await.map_err(failed("payment"))?;
    let fulfilment = spillway_fulfilment::Service::open(fulfilment, &resources).await.map_err(failed("fulfilment"))?;
    let links = around(Links::grpc(&orchestrator, &client, &policies).map_err(failed("orchestrator"))?);
    let orchestrator = spillway_orchestrator::Service::open(orchestrator, links, &resources);
    let orchestrator = orchestrator.await.map_err(failed("orchestrator"))?;

    let mut servers = JoinSet::new();
    macro_rules! spawn {
        ($service:ident, $name:literal) => {{
            let (server, policies, shutdown) = (server.clone(), Policies::clone(&policies), shutdown.clone());
            servers.spawn(async move {
                let served = $service.serve(&server, &policies, listeners.$service, shutdown).await;
                served.map_err(failed($name))
            });
        }};
    }
    spawn!(order, "order");
    spawn!(inventory, "inventory");
    spawn!(payment, "payment");
    spawn!(fulfilment, "fulfilment");
    spawn!(orchestrator, "orchestrator");
    Ok((servers, admin))
}

/// Names the service that an error came from.
fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(service: &'static str) -> impl FnOnce(E) -> PlatformError {
    move |source| PlatformError::Service { service, source: source.into() }
}
