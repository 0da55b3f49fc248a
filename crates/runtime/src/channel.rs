//! Channels to other services.

use std::time::Duration;

use spillway_middleware::{Client, ClientConfig, Policies, Preset, client};
use tonic::transport::Endpoint;

/// A peer that does not answer a SYN for this long is taken for gone; inside a data centre it takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often to ask a peer whether it is there. tonic asks never, and TCP notices a dead peer after 15 minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that is none.
#[derive(Debug, thiserror::Error)]
#[error("{uri:?} is not an address of a gRPC server: {source}")]
pub struct BadAddress {
    uri: String,
    source: tonic::transport::Error,
}

/// A client for the server at `uri` (`http://host:port`), with the client stack around it. It connects when it is
/// first used, and again whenever it has to; so processes can start in any order.
///
/// # Errors
/// When `uri` is not an address. Whether somebody listens there shows at the first call.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect(uri: &str, config: &ClientConfig, policies: &Policies, preset: Preset) -> Result<Client, BadAddress> {
    let endpoint =
        Endpoint::from_shared(uri.to_owned()).map_err(|source| BadAddress { uri: uri.to_owned(), source })?;
    let channel = endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy();
    Ok(client(config, policies, preset, channel))
}
