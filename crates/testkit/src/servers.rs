//! Postgres and Redis for tests: shared throwaway servers for what a database or a key prefix of its own keeps apart, and
//! private ones for a test that kills or freezes them.
//!
//! `deploy/servers.sh` finds, installs and starts them. A test fails when it cannot have its server: that would otherwise
//! be a test that says nothing.

mod postgres;
mod private;
mod redis;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{process::Command, sync::OnceCell};

pub use postgres::{Postgres, PrivatePostgres};
pub use redis::RedisServer;

/// Names a Postgres to use in place of a throwaway one: the URL of a database in which a role may create others.
pub const POSTGRES_VARIABLE: &str = "SPILLWAY_TEST_POSTGRES";

/// Names a Redis to use in place of a throwaway one.
pub const REDIS_VARIABLE: &str = "SPILLWAY_TEST_REDIS";

/// The Postgres that all tests of a run share.
///
/// # Panics
/// When there is none and none can be started.
pub async fn postgres() -> Postgres {
    static SHARED: OnceCell<Postgres> = OnceCell::const_new();
    let shared = SHARED.get_or_init(|| async {
        match std::env::var(POSTGRES_VARIABLE) {
            Ok(url) => Postgres::new(url),
            Err(_) => {
                let shared = Postgres::new(throwaway(POSTGRES_VARIABLE).await);
                shared.drop_orphans().await;
                shared
            }
        }
    });
    shared.await.clone()
}

/// The URL of the Redis that all tests of a run share: a test takes random keys or a random prefix.
///
/// # Panics
/// When there is none and none can be started.
pub async fn redis() -> String {
    static SHARED: OnceCell<String> = OnceCell::const_new();
    let shared = SHARED.get_or_init(|| async {
        match std::env::var(REDIS_VARIABLE) {
            Ok(url) => url,
            Err(_) => throwaway(REDIS_VARIABLE).await,
        }
    });
    shared.await.clone()
}

/// Starts the shared servers, unless they run already; the value that the script prints for `variable`.
async fn throwaway(variable: &str) -> String {
    let printed = script(&["up"]).await;
    value(&printed, variable).unwrap_or_else(|| unusable(&format!("no {variable} in {printed}")))
}

/// Runs `deploy/servers.sh`; what it prints.
async fn script(args: &[&str]) -> String {
    let output =
        Command::new("sh").arg(script_path()).args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    match output.await {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => unusable(&format!("deploy/servers.sh {args:?}: {}", output.status)),
        Err(error) => unusable(&format!("deploy/servers.sh {args:?}: {error}")),
    }
}

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/servers.sh")
}

/// The value of a line `variable=value`.
fn value(printed: &str, variable: &str) -> Option<String> {
    let line = printed.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
    line.map(str::to_owned)
}

#[expect(clippy::panic, reason = "a test without its servers has failed")]
fn unusable(why: &str) -> ! {
    panic!("test servers: {why}")
}

#[cfg(test)]
mod tests;
