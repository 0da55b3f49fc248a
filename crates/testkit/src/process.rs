//! A real binary under test.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// How long a process may take to say that it is up; on two busy cores, opening six databases takes a second or two.
const START_MAX: Duration = Duration::from_secs(60);

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// Builds a binary of this workspace, in the profile of the tests, and says where it is. Where it is up to date already,
/// this costs a fraction of a second; the whole workspace and its (absent) examples are named so that cargo chooses the
/// features that the tests were compiled with, and compiles nothing twice.
///
/// # Errors
/// When cargo cannot be run or the binary does not build.
pub fn build(binary: &str) -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let args = ["build", "--quiet", "--locked", "--workspace", "--bin", binary, "--examples"];
    let status = std::process::Command::new(cargo).args(args).stdin(Stdio::null()).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("{binary} does not build")));
    }
    // Tests run from `deps/`, one below the binaries.
    let tests = std::env::current_exe()?;
    let directory = tests.parent().and_then(Path::parent).ok_or(io::ErrorKind::NotFound)?;
    Ok(directory.join(binary))
}

// === impl Process ===

impl Process {
    /// Starts a binary and waits until it prints a line that begins with `up`. Its log goes to this process's.
    ///
    /// # Errors
    /// When it cannot be started, ends before it is up, or takes too long.
    pub async fn start(binary: &Path, args: &[String], up: &str) -> io::Result<Self> {
        let mut child =
            Command::new(binary).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(stdout).lines();
        let is_up = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with(up) {
                    return Ok(());
                }
            }
            Err(io::Error::other("it ended before it was up"))
        };
        tokio::time::timeout(START_MAX, is_up).await??;
        // Goes on reading, so that the process never waits for a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child })
    }

    /// Kills it as a power cut would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When the system does not let us.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// When it cannot be asked, or does not end within `limit`.
    pub async fn terminate(mut self, limit: Duration) -> io::Result<ExitStatus> {
        let pid = self.child.id().ok_or(io::ErrorKind::NotFound)?;
        let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        if !asked.success() {
            return Err(io::Error::other(format!("process {pid} could not be asked to end")));
        }
        tokio::time::timeout(limit, self.child.wait()).await?
    }
}
