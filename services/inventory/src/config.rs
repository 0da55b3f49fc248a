//! Settings of the service: the table `[inventory]` of the configuration.

use std::{net::SocketAddr, ops::RangeInclusive};

use serde::Deserialize;
use spillway_storage::group_commit::Limits;

/// The table with its defaults, to be put behind those of the runtime.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Shorter pauses would only burn time; with longer ones stock lies idle after its hold has lapsed.
const SWEEP_INTERVAL_MS: RangeInclusive<u64> = 10..=60_000;

/// Settings of the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Pause between two looks for lapsed reservations, in milliseconds.
    pub sweep_interval_ms: u64,
    /// Bounds of the write path.
    pub write: Limits,
}

// === impl Config ===

impl Config {
    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        if !SWEEP_INTERVAL_MS.contains(&self.sweep_interval_ms) {
            let (start, end) = (SWEEP_INTERVAL_MS.start(), SWEEP_INTERVAL_MS.end());
            errors
                .push(format!("{path}.sweep_interval_ms = {}: must be from {start} to {end}", self.sweep_interval_ms));
        }
        self.write.validate(&format!("{path}.write"), errors);
    }
}
