//! A server of one test's own, which ends with the test's process, however that ends.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::io::AsyncReadExt;

use super::{POSTGRES_VARIABLE, REDIS_VARIABLE, script, script_path, unusable, value};
use crate::signal;

/// What the script prints last, once the server is up.
const DIRECTORY_VARIABLE: &str = "SPILLWAY_TEST_SERVERS";
/// How long a start may take: an installation takes a minute or two.
const START_MAX: Duration = Duration::from_secs(300);
/// Pause between two looks whether a process is gone.
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Private {
    kind: &'static str,
    /// Ends the server when its input closes.
    keeper: Child,
    /// The state of the script: where the process ids are.
    directory: PathBuf,
    url: String,
    address: SocketAddr,
}

// === impl Private ===

impl Private {
    pub(super) async fn start(kind: &'static str) -> Self {
        let mut keeper = Command::new("sh");
        // A group of its own, so that a Ctrl-C meant for the test does not end it before its work.
        keeper.arg(script_path()).args(["hold", "--only", kind]).process_group(0);
        let mut keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| unusable(&format!("deploy/servers.sh: {error}")));
        let printed = match tokio::time::timeout(START_MAX, printed(&mut keeper)).await {
            Ok(Ok(printed)) => printed,
            Ok(Err(error)) => unusable(&format!("private {kind}: {error}")),
            Err(_) => unusable(&format!("private {kind} did not start within {START_MAX:?}")),
        };
        let variable = if kind == "postgres" { POSTGRES_VARIABLE } else { REDIS_VARIABLE };
        let (url, directory) = (value(&printed, variable), value(&printed, DIRECTORY_VARIABLE));
        let (Some(url), Some(directory)) = (url, directory) else {
            unusable(&format!("private {kind} did not start: {printed}"))
        };
        let directory = PathBuf::from(directory);
        if directory.join("compose").exists() {
            unusable(&format!("a test that kills {kind} needs it installed, not in a container"));
        }
        let authority = url.rsplit('@').next().unwrap_or(&url).trim_start_matches("redis://");
        let address = authority.split('/').next().and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| unusable(&format!("no address in {url}")));
        Self { kind, keeper, directory, url, address }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn kill(&self) {
        let pid = self.pid();
        // Stopped first, it has no more children than are listed; a Postgres whose child is killed ends the others itself.
        self.signal("STOP", &[pid]).await;
        let mut all = children(pid);
        all.push(pid);
        self.signal("KILL", &all).await;
        while all.iter().any(|pid| is_alive(*pid)) {
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn restart(&self) {
        let directory = self.directory.display().to_string();
        let printed = script(&["up", "--only", self.kind, &directory]).await;
        if !printed.contains(&self.url) {
            unusable(&format!("{} did not come back as {}: {printed}", self.kind, self.url));
        }
    }

    pub(super) async fn freeze(&self) {
        let pid = self.pid();
        self.signal("STOP", &[pid]).await;
        self.signal("STOP", &children(pid)).await;
    }

    pub(super) async fn thaw(&self) {
        let pid = self.pid();
        self.signal("CONT", &children(pid)).await;
        self.signal("CONT", &[pid]).await;
    }

    async fn signal(&self, signal: &str, pids: &[u32]) {
        // A child may have ended by itself since it was listed.
        let pids: Vec<_> = pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if let Err(error) = signal::send(signal, &pids).await
            && pids.iter().all(|pid| is_alive(*pid))
        {
            unusable(&format!("SIG{signal} to {}: {error}", self.kind));
        }
    }

    fn pid(&self) -> u32 {
        let home = fs::read_to_string(self.directory.join("home"));
        let home = home.unwrap_or_else(|error| unusable(&format!("{}: {error}", self.directory.display())));
        let file = if self.kind == "postgres" { "postgres/postmaster.pid" } else { "redis.pid" };
        let text = fs::read_to_string(Path::new(home.trim_end()).join(file)).unwrap_or_default();
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).filter(|pid| is_alive(*pid));
        pid.unwrap_or_else(|| unusable(&format!("{} is not running", self.kind)))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Waits until the server is gone, so that a test leaves nothing behind; it failing has nobody left to tell.
        drop(self.keeper.wait());
    }
}

/// What the keeper prints until it closes its output: the server is up then, or the keeper has failed.
async fn printed(keeper: &mut Child) -> io::Result<String> {
    let stdout = keeper.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut printed = String::new();
    tokio::process::ChildStdout::from_std(stdout)?.read_to_string(&mut printed).await?;
    Ok(printed)
}

fn is_alive(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != "Z")
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| state_and_parent(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// From `/proc/PID/stat`, where they follow the name in brackets.
fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.to_owned();
    Some((state, fields.next()?.parse().ok()?))
}
