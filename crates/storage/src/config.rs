//! Settings of everything that keeps state: the table `[data]`.

use std::{io, ops::RangeInclusive, path::PathBuf};

use serde::Deserialize;

/// The table with its defaults.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// One connection serves reads one at a time; beyond some dozens a process, a database server serves nobody faster.
const READERS: RangeInclusive<u64> = 1..=64;
/// One connection carries tens of thousands of calls a second; more than a few share nothing but sockets.
const CONNECTIONS: RangeInclusive<u64> = 1..=16;
/// Below, a busy moment looks like an outage; above, callers' deadlines are over first.
const TIMEOUT_MS: RangeInclusive<u64> = 10..=5_000;

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The directory of SQLite files; made if it is not there.
    pub dir: PathBuf,
    /// How to use Postgres.
    pub postgres: PostgresConfig,
    /// How to use Redis.
    pub redis: RedisConfig,
}

/// How to use Postgres, for services whose `database` is a `postgres:` address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// The file that holds the password; none when empty.
    pub password_file: PathBuf,
    /// Most connections for reading, a process.
    pub readers_max: u32,
    /// Whether a service brings its schema up to date when it starts.
    pub migrate_at_start: bool,
}

/// How to use Redis.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://host:port`; none when empty.
    pub url: String,
    /// The file that holds the password; none when empty.
    pub password_file: PathBuf,
    /// Connections, each of which carries many calls at once.
    pub connections: u32,
    /// How long one answer may take, in milliseconds.
    pub timeout_ms: u64,
}

// === impl DataConfig ===

impl DataConfig {
    /// Files in `dir`; all the rest as by default.
    pub fn in_directory(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            postgres: PostgresConfig { password_file: PathBuf::new(), readers_max: 8, migrate_at_start: true },
            redis: RedisConfig { url: String::new(), password_file: PathBuf::new(), connections: 2, timeout_ms: 500 },
        }
    }

    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut within = |key: &str, value: u64, range: RangeInclusive<u64>| {
            if !range.contains(&value) {
                errors.push(format!("{path}.{key} = {value}: must be from {} to {}", range.start(), range.end()));
            }
        };
        within("postgres.readers_max", self.postgres.readers_max.into(), READERS);
        within("redis.connections", self.redis.connections.into(), CONNECTIONS);
        within("redis.timeout_ms", self.redis.timeout_ms, TIMEOUT_MS);
    }
}

/// The secret in a file, without the line's end; `None` when no file is named.
///
/// # Errors
/// When the file cannot be read; the error names it.
pub fn secret(file: &std::path::Path) -> io::Result<Option<String>> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}
