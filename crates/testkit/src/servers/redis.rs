//! A Redis server of one test's own.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{private::Private, unusable};

/// How long a replica may take to have what its master has.
const SYNC_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at a replica.
const POLL: Duration = Duration::from_millis(20);

/// A Redis server that one test may kill, freeze, empty and promote. Dropped, it ends and is removed; also when the
/// test's process dies. It keeps nothing over a restart, as a cache would.
#[derive(Debug)]
pub struct RedisServer {
    private: Private,
}

// === impl RedisServer ===

impl RedisServer {
    /// Starts a server of the test's own.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn private() -> Self {
        Self { private: Private::start("redis").await }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        self.private.url()
    }

    /// Where it listens, for a proxy in front of it.
    pub const fn address(&self) -> SocketAddr {
        self.private.address()
    }

    /// Kills it as a power cut would (SIGKILL).
    ///
    /// # Panics
    /// When it is not running, or the system does not let us.
    pub async fn kill(&self) {
        self.private.kill().await;
    }

    /// Starts it on the same port, empty.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.private.restart().await;
    }

    /// Stops it (SIGSTOP): connections stay open, and nothing answers.
    ///
    /// # Panics
    /// When it is not running, or the system does not let us.
    pub async fn freeze(&self) {
        self.private.freeze().await;
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    /// When it is not running, or the system does not let us.
    pub async fn thaw(&self) {
        self.private.thaw().await;
    }

    /// Forgets every key.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn flushall(&self) {
        self.expect("FLUSHALL").await;
    }

    /// Makes it the replica of the server at `master`, and waits until it has all its data. With a proxy in between, what
    /// comes later can be held up.
    ///
    /// # Panics
    /// When it refuses, or takes too long.
    pub async fn replica_of(&self, master: SocketAddr) {
        self.expect(&format!("REPLICAOF {} {}", master.ip(), master.port())).await;
        let in_step = async {
            while !self.expect("INFO replication").await.contains("master_link_status:up") {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(SYNC_MAX, in_step).await.is_err() {
            unusable(&format!("{} is no replica of {master} after {SYNC_MAX:?}", self.url()));
        }
    }

    /// Makes a replica a master, with what it has.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn promote(&self) {
        self.expect("REPLICAOF NO ONE").await;
    }

    async fn expect(&self, command: &str) -> String {
        self.command(command).await.unwrap_or_else(|error| unusable(&format!("{command}: {error}")))
    }

    /// Sends one command, its words separated by spaces, on a connection of its own; the answer when it is one value;
    /// none is an empty one.
    ///
    /// # Errors
    /// When the server does not answer, answers with an error, or with more than one value.
    pub async fn command(&self, command: &str) -> io::Result<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.address()).await?);
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut head = String::new();
        stream.read_line(&mut head).await?;
        let head = head.trim_end();
        let malformed = || io::Error::other(format!("an answer that is not one value: {head:?}"));
        match head.split_at_checked(1).ok_or_else(malformed)? {
            ("+" | ":", value) => Ok(value.to_owned()),
            ("-", error) => Err(io::Error::other(error.to_owned())),
            ("$", "-1") => Ok(String::new()),
            ("$", length) => {
                let mut value = vec![0; length.parse().map_err(|_| malformed())?];
                stream.read_exact(&mut value).await?;
                String::from_utf8(value).map_err(|_| malformed())
            }
            _ => Err(malformed()),
        }
    }
}
