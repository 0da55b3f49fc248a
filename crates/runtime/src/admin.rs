//! The listener for operators and scrapers: one a process, apart from the ones that callers use.
//!
//! | asked | answers |
//! |---|---|
//! | `GET /metrics`, over HTTP/1.1 or 2 | every number, as Prometheus reads it |
//! | `spillway.admin.v1.EventService` | dead letters of the consumers in this process |
//! | `grpc.health.v1` | whether all servers of this process serve; `events`: whether events are carried on |
//! | reflection | the above |
//!
//! It has no access control of its own, so by default it is reached from the machine itself only.

mod events;
mod scrape;

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc};

use serde::Deserialize;
use spillway_contracts::{FILE_DESCRIPTOR_SET, admin::v1::event_service_server::EventServiceServer};
use spillway_storage::bus::Bus;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Server, ServerConfig, health, policies,
    server::{MAX_DECODE_BYTES, MAX_ENCODE_BYTES},
};
use events::Events;

pub(crate) use scrape::Scrape;

/// Connections at a time: a few scrapers and a few people.
const CONNECTIONS_MAX: usize = 64;
/// How long a call may go on when the process ends: nobody waits for a list of dead letters.
const DRAIN_MS: u64 = 500;

/// Settings of the listener for operators: the table `[admin]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where it listens; nowhere when empty. Keep it away from callers: it asks nobody who they are.
    pub listen: AdminAddress,
}

/// An address of this machine, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AdminAddress(Option<SocketAddr>);

/// An address that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an address such as 127.0.0.1:7490, or empty for no such listener")]
pub struct BadAddress;

/// A running listener; it ends when this is dropped, which is after everything that it tells of.
#[derive(Debug)]
#[must_use = "dropped, it ends the listener"]
pub struct Admin {
    address: Option<SocketAddr>,
    _serving: Option<AbortOnDropHandle<()>>,
}

// === impl AdminConfig ===

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: AdminAddress(Some(SocketAddr::from(([127, 0, 0, 1], 7490)))) }
    }
}

// === impl Admin ===

impl Admin {
    /// Starts listening, with the limits of `server`. `bus` knows whose dead letters there are.
    ///
    /// Calls do not depend on it, so a port that is not to be had is a warning and no reason to refuse service.
    pub async fn start(config: &AdminConfig, server: &ServerConfig, bus: &Arc<dyn Bus>) -> Self {
        let Some(address) = config.listen.0 else { return Self { address: None, _serving: None } };
        let bound = TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                tracing::warn!(%address, %error, "no listener for operators and scrapers");
                return Self { address: None, _serving: None };
            }
        };
        tracing::info!(%address, "listening for operators and scrapers");
        health::observe();
        let config = ServerConfig { max_connections: CONNECTIONS_MAX, drain_ms: DRAIN_MS, ..server.clone() };
        let events = EventServiceServer::new(Events::new(Arc::clone(bus)))
            .max_decoding_message_size(MAX_DECODE_BYTES)
            .max_encoding_message_size(MAX_ENCODE_BYTES);
        let carrier = Arc::clone(bus);
        let serving = Server::admin(&config, &policies())
            .descriptors(FILE_DESCRIPTOR_SET)
            .service(events)
            .probe("servers", || std::future::ready(health::all_serve()))
            .companion("events", move || std::future::ready(carrier.check()))
            .serve(listener, CancellationToken::new());
        let serving = AbortOnDropHandle::new(tokio::spawn(async {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the listener for operators and scrapers has ended");
            }
        }));
        Self { address: Some(address), _serving: Some(serving) }
    }

    /// Where it listens, if it does.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

// === impl AdminAddress ===

impl AdminAddress {
    /// The address, if there is one.
    pub const fn get(self) -> Option<SocketAddr> {
        self.0
    }
}

impl FromStr for AdminAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.trim() {
            "" => Ok(Self(None)),
            address => address.parse().map(|address| Self(Some(address))).map_err(|_| BadAddress),
        }
    }
}

impl TryFrom<String> for AdminAddress {
    type Error = BadAddress;

    fn try_from(text: String) -> Result<Self, BadAddress> {
        text.parse()
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

#[cfg(test)]
mod tests;
