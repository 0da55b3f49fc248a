//! Settings of the service: the table `[inventory]` of the configuration.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive};

use serde::Deserialize;
use spillway_runtime::process::Section;
use spillway_storage::{database::DatabaseUrl, group_commit::Limits};

/// The table with its defaults, to be put behind those of the runtime.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Shorter pauses would only burn time; with longer ones stock lies idle after its hold has lapsed.
const SWEEP_INTERVAL_MS: RangeInclusive<u64> = 10..=60_000;
/// Shorter ones are mostly looks at the ledger; with longer ones, units that came back are refused for too long.
const GATE_INTERVAL_MS: RangeInclusive<u64> = 100..=10_000;
/// A timer tells no less; above, asking the ledger would have been as fast.
const GATE_BUDGET_MS: RangeInclusive<u64> = 1..=50;
/// Each is a row read and a counter written, twice an interval.
const GATE_SKUS: RangeInclusive<usize> = 0..=16_384;

/// Settings of the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its state is.
    pub database: DatabaseUrl,
    /// Pause between two looks for lapsed reservations, in milliseconds.
    pub sweep_interval_ms: u64,
    /// Bounds of the write path.
    pub write: Limits,
    /// The gate before it.
    pub gate: GateConfig,
}

/// Settings of the gate, which refuses what the ledger would refuse anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The age, in milliseconds, at which a look at the ledger is too old to refuse anybody.
    pub interval_ms: u64,
    /// How long a Reserve waits for the gate, in milliseconds.
    pub budget_ms: u64,
    /// Most SKUs that have a counter; 0 for no gate at all.
    pub skus_max: usize,
}

// === impl Config ===

impl Section for Config {
    const NAME: &'static str = "inventory";
    const DEFAULTS: &'static str = DEFAULTS;

    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        Self::validate(self, path, errors);
    }
}

impl Config {
    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        within(errors, &format!("{path}.sweep_interval_ms"), self.sweep_interval_ms, &SWEEP_INTERVAL_MS);
        within(errors, &format!("{path}.gate.interval_ms"), self.gate.interval_ms, &GATE_INTERVAL_MS);
        within(errors, &format!("{path}.gate.budget_ms"), self.gate.budget_ms, &GATE_BUDGET_MS);
        within(errors, &format!("{path}.gate.skus_max"), self.gate.skus_max, &GATE_SKUS);
        self.write.validate(&format!("{path}.write"), errors);
    }
}

fn within<T: PartialOrd + Display>(errors: &mut Vec<String>, key: &str, value: T, range: &RangeInclusive<T>) {
    if !range.contains(&value) {
        errors.push(format!("{key} = {value}: must be from {} to {}", range.start(), range.end()));
    }
}
