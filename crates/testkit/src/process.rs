//! A real binary under test.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::Instant,
};

use crate::signal;

/// Names a directory of binaries to test in place of those that cargo builds, such as a release's.
pub const BINARIES_VARIABLE: &str = "SPILLWAY_TEST_BINARIES";

/// How long a process may take to say that it is up; on two busy cores, opening six databases takes a second or two.
const START_MAX: Duration = Duration::from_secs(60);

/// Pause between two looks at a log.
const POLL: Duration = Duration::from_millis(20);
/// How much of a log an error shows.
const TAIL_LINES: usize = 20;

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// How to start a process that writes a log; again and again, if need be.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What to run.
    pub binary: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables put over this process's environment.
    pub env: Vec<(String, String)>,
    /// Where its output goes, behind what earlier runs wrote.
    pub log: PathBuf,
    /// It is up once it has written a line that holds this.
    pub up: String,
}

/// Builds a binary of this workspace, in the profile of the tests, and says where it is. Where it is up to date already,
/// this costs a fraction of a second; the whole workspace and its (absent) examples are named so that cargo chooses the
/// features that the tests were compiled with, and compiles nothing twice.
///
/// # Errors
/// When cargo cannot be run or the binary does not build.
pub fn build(binary: &str) -> io::Result<PathBuf> {
    Ok(cargo_build(&["--bin", binary])?.join(binary))
}

/// Builds all binaries of this workspace, as [`build`] does one, and says which directory they are in.
///
/// # Errors
/// When cargo cannot be run or one of them does not build.
pub fn build_all() -> io::Result<PathBuf> {
    cargo_build(&["--bins"])
}

fn cargo_build(what: &[&str]) -> io::Result<PathBuf> {
    if let Some(built) = std::env::var_os(BINARIES_VARIABLE) {
        return Ok(built.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut build = std::process::Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--workspace", "--examples"]).args(what).stdin(Stdio::null());
    if !build.status()?.success() {
        return Err(io::Error::other(format!("{what:?} does not build")));
    }
    // Tests run from `deps/`, one below the binaries.
    let tests = std::env::current_exe()?;
    let directory = tests.parent().and_then(Path::parent).ok_or(io::ErrorKind::NotFound)?;
    Ok(directory.to_owned())
}

// === impl Launch ===

impl Launch {
    /// Starts it and waits until it is up.
    ///
    /// # Errors
    /// When it cannot be started, ends before it is up, or takes too long; with the end of its log.
    pub async fn start(&self) -> io::Result<Process> {
        let before = self.written().len();
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut process = Process { child };
        let give_up = Instant::now() + START_MAX;
        while !String::from_utf8_lossy(self.written().get(before..).unwrap_or_default()).contains(&self.up) {
            let ended = process.child.try_wait()?;
            if ended.is_some() || Instant::now() > give_up {
                let what = ended.map_or_else(|| format!("not up after {START_MAX:?}"), |status| status.to_string());
                return Err(io::Error::other(format!("{}: {what}\n{}", self.binary.display(), self.tail())));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(process)
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let written = self.written();
        let written = String::from_utf8_lossy(&written);
        let mut lines: Vec<_> = written.lines().rev().take(TAIL_LINES).collect();
        lines.reverse();
        lines.join("\n")
    }

    /// All of its log; none is as good as an empty one.
    fn written(&self) -> Vec<u8> {
        fs::read(&self.log).unwrap_or_default()
    }
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
        signal::send("TERM", &[self.pid()?]).await?;
        tokio::time::timeout(limit, self.child.wait()).await?
    }

    /// Stops it where it stands (SIGSTOP): its connections stay open, and nothing answers.
    ///
    /// # Errors
    /// When it has ended, or the system does not let us.
    pub async fn freeze(&self) -> io::Result<()> {
        signal::send("STOP", &[self.pid()?]).await
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it has ended, or the system does not let us.
    pub async fn thaw(&self) -> io::Result<()> {
        signal::send("CONT", &[self.pid()?]).await
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> io::Result<u32> {
        self.child.id().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
