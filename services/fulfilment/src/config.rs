//! Settings of the service: the table `[fulfilment]` of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;
use spillway_runtime::process::Section;
use spillway_storage::{database::DatabaseUrl, group_commit::Limits};

/// The table with its defaults, to be put behind those of the runtime.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Settings of the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its state is.
    pub database: DatabaseUrl,
    /// Whether to open a warehouse that sends everything everywhere, while there is none at all.
    pub default_warehouse: bool,
    /// Bounds of the write path.
    pub write: Limits,
}

// === impl Config ===

impl Section for Config {
    const NAME: &'static str = "fulfilment";
    const DEFAULTS: &'static str = DEFAULTS;

    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        Self::validate(self, path, errors);
    }
}

impl Config {
    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        self.write.validate(&format!("{path}.write"), errors);
    }
}

#[cfg(test)]
mod tests {
    use spillway_runtime::config::{self, Validate, load};

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        fulfilment: Config,
    }

    impl Validate for Settings {
        fn validate(&self, errors: &mut Vec<String>) {
            self.fulfilment.validate("fulfilment", errors);
        }
    }

    fn settings(overrides: &[(&str, &str)]) -> Result<Settings, config::ConfigErrors> {
        let overrides: Vec<_> = overrides.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        load(DEFAULTS, None, std::iter::empty(), &overrides)
    }

    #[test]
    fn the_defaults_are_valid_and_every_error_is_told_at_once() {
        settings(&[]).unwrap();
        let wrong = [
            ("fulfilment.listen", "nowhere"),
            ("fulfilment.default_warehouse", "perhaps"),
            ("fulfilment.write.batch_max", "0"),
            ("fulfilment.warehouses", "2"),
        ];
        let errors = settings(&wrong).unwrap_err().to_string();
        for (key, _) in wrong {
            assert!(errors.contains(key), "{key} is missing in: {errors}");
        }
    }
}
