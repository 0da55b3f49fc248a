//! Settings of the whole platform in one process: one document, `spillway config` prints it.

mod peers;

use std::path::Path;

use serde::Deserialize;
use spillway_middleware::ClientConfig;
use spillway_runtime::{
    AdminConfig, ServerConfig, TelemetryConfig,
    config::{self, ConfigErrors, Validate},
};
use spillway_storage::DataConfig;

pub use peers::Peers;

/// The command's own table with its defaults.
const PEERS: &str = include_str!("../defaults.toml");

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Logs and spans.
    pub telemetry: TelemetryConfig,
    /// Where the databases are.
    pub data: DataConfig,
    /// Where operators and scrapers ask.
    pub admin: AdminConfig,
    /// What each gRPC server takes.
    pub server: ServerConfig,
    /// How services, and this command, call others.
    pub client: ClientConfig,
    /// Where the command finds the services of a platform that runs already.
    pub peers: Peers,
    /// The order service.
    pub order: spillway_order::Config,
    /// The inventory service.
    pub inventory: spillway_inventory::Config,
    /// The payment service.
    pub payment: spillway_payment::Config,
    /// The fulfilment service.
    pub fulfilment: spillway_fulfilment::Config,
    /// The orchestrator.
    pub orchestrator: spillway_orchestrator::Config,
}

// === impl Settings ===

impl Settings {
    /// Loads settings: the defaults, then `file`, then the environment, then `overrides` (dotted key and value).
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(file: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, ConfigErrors> {
        config::load(&defaults(), file, std::env::vars(), overrides)
    }
}

impl Validate for Settings {
    fn validate(&self, errors: &mut Vec<String>) {
        self.telemetry.validate("telemetry", errors);
        self.data.validate("data", errors);
        self.server.validate("server", errors);
        self.client.validate("client", errors);
        self.peers.validate("peers", errors);
        self.order.validate("order", errors);
        self.inventory.validate("inventory", errors);
        self.payment.validate("payment", errors);
        self.fulfilment.validate("fulfilment", errors);
        self.orchestrator.validate("orchestrator", errors);
    }
}

/// The document with every setting and its default.
pub fn defaults() -> String {
    [
        config::DEFAULTS,
        spillway_storage::config::DEFAULTS,
        spillway_orchestrator::config::DEFAULTS,
        spillway_order::config::DEFAULTS,
        spillway_inventory::config::DEFAULTS,
        spillway_payment::config::DEFAULTS,
        spillway_fulfilment::config::DEFAULTS,
        PEERS,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_a_valid_configuration() {
        let loaded: Result<Settings, _> = config::load(&defaults(), None, std::iter::empty(), &[]);
        assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
    }

    #[test]
    fn every_mistake_is_told_of_at_once() {
        let wrong = [("SPILLWAY__ORDER__LISTEN", "nowhere"), ("SPILLWAY__ORDER__COLOUR", "red")];
        let env = wrong.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let overrides = [("orchestrator.saga.park_after".to_owned(), "0".to_owned())];
        let errors = config::load::<Settings>(&defaults(), None, env, &overrides).unwrap_err().to_string();
        for part in ["order.listen", "order.colour", "orchestrator.saga.park_after"] {
            assert!(errors.contains(part), "{part} is missing in:\n{errors}");
        }
    }
}
