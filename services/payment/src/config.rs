//! Settings of the service: the table `[payment]` of the configuration.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use serde::{Deserialize, Deserializer, de};
use spillway_runtime::process::Section;
use spillway_storage::{database::DatabaseUrl, group_commit::Limits};

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
    /// Where its state is.
    pub database: DatabaseUrl,
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
    /// Where its books are; none: beside the service's state.
    #[serde(deserialize_with = "address")]
    pub database: Option<DatabaseUrl>,
    /// How late `sandbox:slow` answers, in milliseconds.
    pub slow_ms: u64,
    /// Bounds of its own write path.
    pub write: Limits,
}

/// The schema of the sandbox's books in a Postgres database.
const SANDBOX_SCHEMA: &str = "sandbox";

/// An address, or none when it is empty.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DatabaseUrl>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(de::Error::custom) }
}

// === impl Config ===

impl Section for Config {
    const NAME: &'static str = "payment";
    const DEFAULTS: &'static str = DEFAULTS;

    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        Self::validate(self, path, errors);
    }
}

impl Config {
    /// Where the sandbox provider keeps its books. In Postgres they have a schema of their own, to which the address
    /// leads by its search path.
    pub fn sandbox_database(&self) -> DatabaseUrl {
        match (&self.sandbox.database, &self.database) {
            (Some(DatabaseUrl::Postgres(options)), _) | (None, DatabaseUrl::Postgres(options)) => {
                DatabaseUrl::Postgres(Box::new((**options).clone().options([("search_path", SANDBOX_SCHEMA)])))
            }
            (Some(file), _) => file.clone(),
            (None, DatabaseUrl::Sqlite(_)) => DatabaseUrl::Sqlite(PathBuf::new()),
        }
    }

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
        if let (DatabaseUrl::Postgres(_), Some(DatabaseUrl::Sqlite(_))) = (&self.database, &self.sandbox.database) {
            let problem = "must be a postgres: address like the service's: replicas ask one provider, not one each";
            errors.push(format!("{path}.sandbox.database: {problem}"));
        }
        self.write.validate(&format!("{path}.write"), errors);
        self.sandbox.write.validate(&format!("{path}.sandbox.write"), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::configured;

    #[test]
    fn the_defaults_are_valid_and_every_error_is_told_at_once() {
        assert_eq!(configured(&[]).unwrap().provider_timeout_ms, 2_000);
        let wrong = [
            ("payment.listen", "everywhere"),
            ("payment.provider_timeout_ms", "0"),
            ("payment.sandbox.slow_ms", "60001"),
            ("payment.sandbox.database", "mysql://db/books"),
            ("payment.write.batch_max", "0"),
            ("payment.patience", "1"),
        ];
        let errors = configured(&wrong).unwrap_err();
        for (key, _) in wrong {
            assert!(errors.contains(key), "{key} is missing in: {errors}");
        }
    }

    #[test]
    fn the_sandbox_keeps_its_books_where_all_replicas_find_them() {
        let (ours, theirs) = ("postgres://shop@db:5433/payment", "postgres://bank@far:5432/books");
        for (overrides, place) in [
            (vec![], "sqlite:"),
            (vec![("payment.database", "sqlite:elsewhere.db")], "sqlite:"),
            (vec![("payment.sandbox.database", "sqlite:books.db")], "sqlite:books.db"),
            (vec![("payment.database", ours)], ours),
            (vec![("payment.database", ours), ("payment.sandbox.database", theirs)], theirs),
        ] {
            let books = configured(&overrides).unwrap().sandbox_database();
            assert_eq!(books.to_string(), place, "{overrides:?}");
            if let DatabaseUrl::Postgres(options) = books {
                assert_eq!(options.get_options(), Some("-c search_path=sandbox"), "{overrides:?}");
            }
        }
        let split = configured(&[("payment.database", ours), ("payment.sandbox.database", "sqlite:")]).unwrap_err();
        assert!(split.contains("payment.sandbox.database"), "{split}");
    }
}
