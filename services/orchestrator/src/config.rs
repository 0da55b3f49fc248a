//! Settings of the service: the table `[orchestrator]` of the configuration.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use serde::Deserialize;
use spillway_runtime::process::Section;
use spillway_saga::{EngineConfig, StepPolicy, policy::Backoff};
use spillway_storage::{database::DatabaseUrl, group_commit::Limits};

/// The table with its defaults, to be put behind those of the runtime.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// How long a saga's row must have been quiet before a scan asks whether it has a driver: longer than any step's
/// back-off, so that scans do not look at what is only waiting for its next attempt.
const QUIET_FOR: Duration = Duration::from_secs(5);

/// Settings of the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its state is.
    pub database: DatabaseUrl,
    /// Where the participants are.
    pub peers: Peers,
    /// Limits of the saga engine.
    pub saga: SagaConfig,
    /// Budgets of a step.
    pub step: StepConfig,
    /// Bounds of the log's write path.
    pub write: Limits,
}

/// Addresses of the participants, as `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// The order service.
    pub order: String,
    /// The inventory service.
    pub inventory: String,
    /// The payment service.
    pub payment: String,
    /// The fulfilment service.
    pub fulfilment: String,
}

/// Limits of the saga engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SagaConfig {
    /// Sagas in memory; beyond it new orders are refused.
    pub active_max: usize,
    /// Pause between two looks for sagas that nobody drives, in milliseconds.
    pub scan_interval_ms: u64,
    /// Sagas taken up again in a second after a restart.
    pub resume_per_second: u32,
    /// Failed attempts, where no patience bounds them, before a saga is parked.
    pub park_after: u32,
    /// Pause before a parked saga is tried again, in milliseconds.
    pub parked_retry_ms: u64,
    /// How long a shutdown waits for steps in flight, in milliseconds.
    pub drain_ms: u64,
}

/// Budgets of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepConfig {
    /// How long one attempt may take, in milliseconds.
    pub attempt_timeout_ms: u64,
    /// Upper end of the first pause between attempts, in milliseconds; doubled each time.
    pub backoff_ms: u64,
    /// Upper end of any pause while patience lasts, in milliseconds.
    pub backoff_max_ms: u64,
    /// How long an outcome may stay unknown before the saga turns back, in milliseconds.
    pub patience_ms: u64,
}

// === impl Config ===

impl Section for Config {
    const NAME: &'static str = "orchestrator";
    const DEFAULTS: &'static str = DEFAULTS;

    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        Self::validate(self, path, errors);
    }
}

impl Config {
    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut within = |key: &str, value: u64, range: RangeInclusive<u64>| {
            if !range.contains(&value) {
                errors.push(format!("{path}.{key} = {value}: must be from {} to {}", range.start(), range.end()));
            }
        };
        let (saga, step) = (self.saga, self.step);
        within("saga.active_max", u64::try_from(saga.active_max).unwrap_or(u64::MAX), 1..=1_000_000);
        within("saga.scan_interval_ms", saga.scan_interval_ms, 100..=60_000);
        within("saga.resume_per_second", saga.resume_per_second.into(), 1..=100_000);
        within("saga.park_after", saga.park_after.into(), 1..=1_000);
        within("saga.parked_retry_ms", saga.parked_retry_ms, 1_000..=60_000);
        within("saga.drain_ms", saga.drain_ms, 0..=20_000);
        within("step.attempt_timeout_ms", step.attempt_timeout_ms, 10..=30_000);
        within("step.backoff_ms", step.backoff_ms, 1..=10_000);
        within("step.backoff_max_ms", step.backoff_max_ms, step.backoff_ms.min(60_000)..=60_000);
        within("step.patience_ms", step.patience_ms, 100..=600_000);
        self.write.validate(&format!("{path}.write"), errors);
    }
}

// === impl SagaConfig ===

impl SagaConfig {
    /// The engine's limits; `seed` is for its jitter.
    pub(crate) const fn engine(&self, seed: u64) -> EngineConfig {
        EngineConfig {
            active_max: self.active_max,
            scan_interval: Duration::from_millis(self.scan_interval_ms),
            quiet_for: QUIET_FOR,
            resume_per_second: self.resume_per_second,
            park_after: self.park_after,
            parked_retry: Duration::from_millis(self.parked_retry_ms),
            drain: Duration::from_millis(self.drain_ms),
            seed,
        }
    }
}

// === impl StepConfig ===

impl StepConfig {
    /// The policy of every step.
    pub const fn policy(&self) -> StepPolicy {
        StepPolicy {
            attempt_timeout: Duration::from_millis(self.attempt_timeout_ms),
            backoff: Backoff {
                base: Duration::from_millis(self.backoff_ms),
                cap: Duration::from_millis(self.backoff_max_ms),
            },
            patience: Duration::from_millis(self.patience_ms),
        }
    }
}
