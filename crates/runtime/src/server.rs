//! The one place where a gRPC server is built.
//!
//! It serves tonic's services on hyper itself, since tonic's `Server` leaves the limits of HTTP/2 off, waits for ever
//! when it is told to stop, gives every connection the same age, and answers a passed deadline with CANCELLED.
//!
//! A stop is bounded: health says NOT_SERVING, the listener closes, every connection is sent a GOAWAY, streams end with
//! `DRAINING`, calls in flight get the drain limit, and what is left then is dropped.

mod config;
mod connection;
mod drain;

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http::{Request, Response};
use spillway_middleware::{Policies, server};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    admin::Scrape,
    health::{Health, Place, Probe},
};
use connection::Audience;
use drain::EndStreams;

pub use config::ServerConfig;

/// The longest message that a service takes: an order of a thousand lines is a tenth of that. For
/// `max_decoding_message_size` of each service.
pub const MAX_DECODE_BYTES: usize = 1024 * 1024;

/// The longest message that a service sends: a page of a list. For `max_encoding_message_size` of each service.
pub const MAX_ENCODE_BYTES: usize = 4 * 1024 * 1024;

/// Pause after the system has no more file descriptors for us, which only time can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server to be: services, what describes them, and what they depend on.
#[derive(Debug)]
pub struct Server {
    audience: Audience,
    config: Arc<ServerConfig>,
    policies: Policies,
    routes: RoutesBuilder,
    services: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
    probes: Vec<Probe>,
}

/// A server that cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors for reflection are no descriptors.
    #[error("reflection cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

// === impl Server ===

impl Server {
    /// A server without services. `policies` say which deadline a method has by default.
    pub fn new(config: &ServerConfig, policies: &Policies) -> Self {
        Self::of(Audience::Callers, config, policies)
    }

    /// A server for those who watch this process: it answers scrapers, too, and over HTTP/1.1 as well.
    pub(crate) fn admin(config: &ServerConfig, policies: &Policies) -> Self {
        Self::of(Audience::Operators, config, policies)
    }

    fn of(audience: Audience, config: &ServerConfig, policies: &Policies) -> Self {
        Self {
            audience,
            config: Arc::new(config.clone()),
            policies: policies.clone(),
            routes: RoutesBuilder::default(),
            services: Vec::new(),
            descriptors: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// Adds a tonic service. Its `max_decoding_message_size` is its own to set: see [`MAX_DECODE_BYTES`].
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.services.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Adds an encoded `FileDescriptorSet` for reflection. Only services that were added are listed, whatever else is
    /// in there.
    #[must_use]
    pub fn descriptors(mut self, set: &'static [u8]) -> Self {
        self.descriptors.push(set);
        self
    }

    /// Adds a check of something that the services cannot do without: health is NOT_SERVING while it fails.
    #[must_use]
    pub fn probe<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.probes.push(Probe::new(name, check));
        self
    }

    /// Adds a check of something that the services work more slowly without, such as a cache. It has a health name of its
    /// own, which says NOT_SERVING while it fails, and readiness stays as it is.
    #[must_use]
    pub fn companion<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.probes.push(Probe::companion(name, check));
        self
    }

    /// Serves until `shutdown`, then drains: it takes the drain limit at most.
    ///
    /// # Errors
    /// When the descriptors are none.
    pub async fn serve(mut self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
        let reporter = HealthReporter::new();
        self.routes.add_service(HealthServer::new(HealthService::from_health_reporter(reporter.clone())));
        if self.config.reflection {
            self.add_reflection()?;
        }
        let interval = Duration::from_millis(self.config.probe_interval_ms);
        let place = (self.audience == Audience::Callers).then(|| Place::new(self.services.clone()));
        let health = Arc::new(Health::new(reporter, self.services, self.probes, place, interval).await);
        let probing = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&health).run()));

        let drain = CancellationToken::new();
        let handler = EndStreams::new(self.routes.routes().prepare(), &self.policies, drain.clone());
        let stack = server(&self.config.middleware(), &self.policies).layer(handler);
        let mut connections = Connections::new(self.audience, &self.config, drain.clone());
        match self.audience {
            Audience::Callers => connections.accept(listener, stack, &shutdown).await,
            Audience::Operators => connections.accept(listener, Scrape::new(stack), &shutdown).await,
        }

        // Probing first, or its next round would say SERVING again.
        drop(probing);
        health.drain().await;
        drain.cancel();
        connections.end().await;
        Ok(())
    }

    /// Reflection in both versions, since `grpcurl` of some distributions knows only the older one. Details of errors
    /// are described as well, so that tools can show them.
    fn add_reflection(&mut self) -> Result<(), ServeError> {
        let builder = || {
            let mut builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            for set in &self.descriptors {
                builder = builder.register_encoded_file_descriptor_set(set);
            }
            self.services.iter().fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let v1 = builder().with_service_name("grpc.reflection.v1.ServerReflection").build_v1()?;
        let v1alpha = builder().with_service_name("grpc.reflection.v1alpha.ServerReflection").build_v1alpha()?;
        self.routes.add_service(v1).add_service(v1alpha);
        Ok(())
    }
}

/// The connections of a server.
#[derive(Debug)]
struct Connections {
    audience: Audience,
    config: Arc<ServerConfig>,
    places: Arc<Semaphore>,
    drain: CancellationToken,
    open: JoinSet<()>,
}

// === impl Connections ===

impl Connections {
    fn new(audience: Audience, config: &Arc<ServerConfig>, drain: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(config.max_connections));
        Self { audience, config: Arc::clone(config), places, drain, open: JoinSet::new() }
    }

    /// Takes connections up until `shutdown`; then closes the listener, so that callers hear at once that nobody is
    /// here any more.
    async fn accept<S>(&mut self, listener: TcpListener, stack: S, shutdown: &CancellationToken)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let protocol = connection::protocol(self.audience, &self.config);
        loop {
            let (stream, place) = tokio::select! {
                accepted = next(&listener, &self.places) => accepted,
                // Ended connections are let go of as they end, so that they do not pile up.
                Some(_) = self.open.join_next() => continue,
                () = shutdown.cancelled() => return,
            };
            let (config, drain) = (Arc::clone(&self.config), self.drain.clone());
            let serving = connection::serve(stream, stack.clone(), protocol.clone(), config, drain);
            self.open.spawn(async move {
                serving.await;
                drop(place);
            });
        }
    }

    /// Waits for the connections, each of which has a limit of its own.
    async fn end(mut self) {
        while self.open.join_next().await.is_some() {}
    }
}

/// The next connection, and the place that it takes. The place first: a connection that has to wait does so in the
/// kernel, where it costs us nothing.
async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    loop {
        // Never closed, so there is always a place in the end.
        let place = Arc::clone(places).acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(cause = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
