//! Settings of the service: the table `[order]` of the configuration.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive};

use serde::Deserialize;
use spillway_runtime::process::Section;
use spillway_storage::{database::DatabaseUrl, group_commit::Limits};

/// The table with its defaults, to be put behind those of the runtime.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// A stream is a task that waits, of some KiB; a million of them is what a process can hold.
const STREAMS_MAX: RangeInclusive<usize> = 1..=1_000_000;
/// No order makes more than eight moves, so more room is never used; less than one is none.
const BUFFER: RangeInclusive<usize> = 1..=64;
/// A caller needs at least a round trip; one that has not read for ten minutes has forgotten us.
const SLOW_READER_MS: RangeInclusive<u64> = 10..=600_000;

/// Settings of the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its state is.
    pub database: DatabaseUrl,
    /// Bounds of the write path.
    pub write: Limits,
    /// How orders are followed.
    pub watch: WatchConfig,
}

/// How orders are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// Most streams at a time; more are shed.
    pub streams_max: usize,
    /// Moves that a stream holds for a caller who has not read them yet.
    pub buffer: usize,
    /// How long a full stream waits for its caller before it is closed, in milliseconds.
    pub slow_reader_ms: u64,
}

// === impl Config ===

impl Section for Config {
    const NAME: &'static str = "order";
    const DEFAULTS: &'static str = DEFAULTS;

    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        Self::validate(self, path, errors);
    }
}

impl Config {
    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        self.write.validate(&format!("{path}.write"), errors);
        self.watch.validate(&format!("{path}.watch"), errors);
    }
}

// === impl WatchConfig ===

impl WatchConfig {
    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        within(&format!("{path}.streams_max"), self.streams_max, &STREAMS_MAX, errors);
        within(&format!("{path}.buffer"), self.buffer, &BUFFER, errors);
        within(&format!("{path}.slow_reader_ms"), self.slow_reader_ms, &SLOW_READER_MS, errors);
    }
}

fn within<T: PartialOrd + Display>(key: &str, value: T, range: &RangeInclusive<T>, errors: &mut Vec<String>) {
    if !range.contains(&value) {
        errors.push(format!("{key} = {value}: must be from {} to {}", range.start(), range.end()));
    }
}

#[cfg(test)]
mod tests {
    use spillway_runtime::config::{ConfigErrors, Validate, load};

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        order: Config,
    }

    impl Validate for Settings {
        fn validate(&self, errors: &mut Vec<String>) {
            self.order.validate("order", errors);
        }
    }

    fn settings(overrides: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
        let overrides: Vec<_> = overrides.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        load(DEFAULTS, None, std::iter::empty(), &overrides)
    }

    #[test]
    fn the_defaults_are_valid_and_every_error_is_told_at_once() {
        assert_eq!(settings(&[]).map(drop), Ok(()));
        let wrong = [
            ("order.listen", "nowhere"),
            ("order.write.batch_max", "0"),
            ("order.watch.buffer", "0"),
            ("order.watch.slow_reader_ms", "soon"),
            ("order.watch.patience", "1"),
        ];
        let errors = settings(&wrong).unwrap_err().to_string();
        for (key, _) in wrong {
            assert!(errors.contains(key), "{key} is missing in: {errors}");
        }
    }
}
