//! Settings of the service: the table `[payment]` of the configuration.

use std::{net::SocketAddr, ops::RangeInclusive};

use serde::Deserialize;
use spillway_storage::group_commit::Limits;

/// The table with its defaults, to be put behind those of the runtime.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Providers answer in tens of milliseconds at best; beyond a minute every caller has gone.
const PROVIDER_TIMEOUT_MS: RangeInclusive<u64> = 10..=60_000;
/// Shorter pauses would only burn time; with longer ones a buyer's money is held for nothing.
const SETTLE_INTERVAL_MS: RangeInclusive<u64> = 10..=60_000;
/// Nobody waits longer for a sandbox.
const SLOW_MS: RangeInclusive<u64> = 0..=60_000;

/// Settings of the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long one call to the payment provider may take, in milliseconds.
    pub provider_timeout_ms: u64,
    /// Pause between two looks for payments that the provider has left open, in milliseconds.
    pub settle_interval_ms: u64,
    /// Bounds of the write path.
    pub write: Limits,
    /// The payment provider.
    pub sandbox: SandboxConfig,
}

/// Settings of the sandbox provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxConfig {
    /// How late `sandbox:slow` answers, in milliseconds.
    pub slow_ms: u64,
    /// Bounds of its own write path.
    pub write: Limits,
}

// === impl Config ===

impl Config {
    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut within = |key: &str, value: u64, range: RangeInclusive<u64>| {
            if !range.contains(&value) {
                errors.push(format!("{path}.{key} = {value}: must be from {} to {}", range.start(), range.end()));
            }
        };
        within("provider_timeout_ms", self.provider_timeout_ms, PROVIDER_TIMEOUT_MS);
        within("settle_interval_ms", self.settle_interval_ms, SETTLE_INTERVAL_MS);
        within("sandbox.slow_ms", self.sandbox.slow_ms, SLOW_MS);
        self.write.validate(&format!("{path}.write"), errors);
        self.sandbox.write.validate(&format!("{path}.sandbox.write"), errors);
    }
}

#[cfg(test)]
mod tests {
    use spillway_runtime::config::{Validate, load};

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        payment: Config,
    }

    impl Validate for Settings {
        fn validate(&self, errors: &mut Vec<String>) {
            self.payment.validate("payment", errors);
        }
    }

    #[test]
    fn the_defaults_are_valid_and_every_error_is_told_at_once() {
        let settings = |overrides: &[(String, String)]| load::<Settings>(DEFAULTS, None, std::iter::empty(), overrides);
        assert_eq!(settings(&[]).unwrap().payment.provider_timeout_ms, 2_000);
        let wrong = [
            ("payment.listen", "everywhere"),
            ("payment.provider_timeout_ms", "0"),
            ("payment.sandbox.slow_ms", "60001"),
            ("payment.write.batch_max", "0"),
            ("payment.patience", "1"),
        ];
        let errors = settings(&wrong.map(|(key, text)| (key.to_owned(), text.to_owned()))).unwrap_err().to_string();
        for (key, _) in wrong {
            assert!(errors.contains(key), "{key} is missing in: {errors}");
        }
    }
}
