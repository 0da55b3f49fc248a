//! Settings in layers: the document with every default, a file, the environment, the command line.
//!
//! The defaults are the reference: a key that is not in them is unknown, and the type of a value there is the type of
//! the setting. A bad configuration is told of in full, one error a line, before any port is bound; the process then
//! exits with [`EX_USAGE`].

mod layers;

use std::{fmt, fs, path::Path};

use ::config::Value;
use serde::de::DeserializeOwned;

use layers::Layers;

/// Settings that every process shares: `[telemetry]`, `[data]`, `[server]` and `[client]`, to be put before a process's own.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Exit code of a process that was configured or called wrongly (`sysexits.h`).
pub const EX_USAGE: u8 = 64;

/// What names of environment variables begin with; `__` separates the levels: `SPILLWAY__SERVER__DRAIN_MS`.
pub const ENV_PREFIX: &str = "SPILLWAY__";

/// Checks what types cannot say.
pub trait Validate {
    /// Adds a line to `errors` for each setting outside its guardrails: `key = value: must be ...`.
    fn validate(&self, errors: &mut Vec<String>);
}

/// Everything that is wrong with a configuration, one error a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<String>);

/// Loads settings of type `T`: `defaults` (TOML, every key), then `file`, then those variables of `env` that begin
/// with [`ENV_PREFIX`], then `overrides` (dotted key and value).
///
/// # Errors
/// All that is wrong at once: unknown keys, wrong types, values outside their guardrails; each with its source.
pub fn load<T: DeserializeOwned + Validate>(
    defaults: &str,
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<T, ConfigErrors> {
    let mut layers = Layers::new(defaults).map_err(|error| ConfigErrors(vec![error]))?;
    if let Some(path) = file {
        match fs::read_to_string(path) {
            Ok(text) => layers.document(&text, &format!("file {}", path.display())),
            Err(error) => layers.error(format!("file {}: {error}", path.display())),
        }
    }
    for (name, text) in env {
        if let Some(rest) = name.strip_prefix(ENV_PREFIX) {
            let key = rest.to_lowercase().replace("__", ".");
            layers.text(&key, &text, &format!("environment variable {name}"));
        }
    }
    for (key, text) in overrides {
        layers.text(key, text, "command line");
    }
    finish(layers)
}

fn finish<T: DeserializeOwned + Validate>(mut layers: Layers) -> Result<T, ConfigErrors> {
    // Each round takes one bad value out, so there are no more rounds than values.
    let settings = loop {
        match Value::from(layers.tree()).try_deserialize::<T>() {
            Ok(settings) => break settings,
            Err(error) if layers.reject(&error) => {}
            Err(error) => {
                layers.error(format!("defaults: {error}"));
                return Err(ConfigErrors(layers.into_errors()));
            }
        }
    };
    let mut broken = Vec::new();
    settings.validate(&mut broken);
    for line in broken {
        let line = layers.with_source(line);
        layers.error(line);
    }
    match layers.into_errors() {
        errors if errors.is_empty() => Ok(settings),
        errors => Err(ConfigErrors(errors)),
    }
}

// === impl ConfigErrors ===

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

#[cfg(test)]
mod tests;
