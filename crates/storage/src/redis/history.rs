//! Telling whether a server may have lost data.
//!
//! A restart, a failover to a replica that lagged behind, and FLUSHALL all lose writes that were acknowledged, and none
//! of them tells the clients. Each of them leaves a mark, however: the process, the line of replication or a key of ours
//! is another one.

use std::fmt;

use super::{Pipeline, Redis, RedisError, pipe};

/// The key that FLUSHALL takes away; its value is random.
const MARKER: &str = "spillway:{history}";

/// Which data a server has. Equal before and after means that nothing which was acknowledged between is lost. It may be
/// another although nothing is: a server that gets its first replica begins a new line of replication, for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History(String);

// === impl History ===

impl History {
    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) async fn ask(redis: &Redis) -> Result<History, RedisError> {
    let mut pipeline = pipe();
    let fresh = format!("{:032x}", rand::random::<u128>());
    pipeline.cmd("SET").arg(MARKER).arg(fresh).arg("NX").ignore();
    behind(redis, "asking for the history", pipeline).await
}

/// Runs commands whose answers are ignored, and says which data they went to: asked of the same server and after them, so
/// that whatever took them away since shows.
pub(super) async fn behind(redis: &Redis, doing: &'static str, mut pipeline: Pipeline) -> Result<History, RedisError> {
    pipeline.cmd("INFO").arg("server").cmd("INFO").arg("replication").cmd("GET").arg(MARKER);
    let (server, replication, marker): (String, String, Option<String>) = redis.pipeline(doing, &pipeline).await?;
    let marker = marker.ok_or(RedisError::DataLost { doing })?;
    let process = field(&server, "run_id").unwrap_or_default();
    let line = field(&replication, "master_replid").unwrap_or_default();
    Ok(History(format!("{process}/{line}/{marker}")))
}

/// A field of an INFO answer.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Replication\r\nrole:master\r\nmaster_replid2:00\r\nmaster_replid:8f\r\n";
        assert_eq!((field(info, "master_replid"), field(info, "run_id")), (Some("8f"), None));
    }
}
