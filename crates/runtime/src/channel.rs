//! Clients of other services.

use spillway_middleware::{BadPeers, Client, ClientConfig, Peers, Policies, Preset, client};

/// Text that says of no server where it is.
pub type BadAddress = BadPeers;

/// A client for the servers at `peers`, with the client stack around them: `http://host:port`, or several of them with
/// commas between. A name may stand for several servers; it is looked up again every few seconds. Connects in the
/// background, and again whenever it has to; so processes can start in any order.
///
/// # Errors
/// When one of `peers` is not an address. Whether somebody listens there shows at the first call.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect(peers: &str, config: &ClientConfig, policies: &Policies, preset: Preset) -> Result<Client, BadAddress> {
    Ok(client(config, policies, preset, &peers.parse::<Peers>()?))
}

#[cfg(test)]
mod tests;
