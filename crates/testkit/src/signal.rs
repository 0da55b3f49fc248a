//! Signals to processes, by the `kill` command: what it does in one line would be unsafe code here.

use std::{io, process::Stdio};

use tokio::process::Command;

/// Sends `signal` (a name without `SIG`) to each of `pids`.
pub(crate) async fn send(signal: &str, pids: &[u32]) -> io::Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    let output = Command::new("kill").arg(format!("-{signal}")).args(&pids).stdin(Stdio::null()).output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("kill -{signal} {pids:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
