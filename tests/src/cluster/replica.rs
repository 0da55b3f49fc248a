//! One process of a service.

use std::{net::SocketAddr, path::PathBuf, process::ExitStatus, time::Duration};

use spillway_testkit::{
    process::{Launch, Process},
    proxy::Proxy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use super::Service;

/// Tables of settings that every process has, beside its own.
const SHARED: [&str; 5] = ["telemetry", "admin", "data", "server", "client"];

/// One process of a service: running or not, always at the same address.
#[derive(Debug)]
pub struct Replica {
    service: Service,
    number: usize,
    listen: SocketAddr,
    admin: SocketAddr,
    network: Option<Network>,
    launch: Launch,
    process: Option<Process>,
}

/// The proxies on a process's ways.
#[derive(Debug)]
pub struct Network {
    /// From whoever calls it.
    pub callers: Proxy,
    /// To Postgres.
    pub postgres: Proxy,
    /// To Redis.
    pub redis: Proxy,
}

// === impl Network ===

impl Network {
    pub(super) async fn new(listen: SocketAddr, postgres: SocketAddr, redis: SocketAddr) -> Self {
        let [callers, postgres, redis] = [Proxy::to(listen), Proxy::to(postgres), Proxy::to(redis)];
        Self { callers: callers.await.unwrap(), postgres: postgres.await.unwrap(), redis: redis.await.unwrap() }
    }

    /// How many faults have struck on its ways.
    pub fn injected(&self) -> u64 {
        [&self.callers, &self.postgres, &self.redis].iter().map(|proxy| proxy.injected().total()).sum()
    }
}

// === impl Replica ===

impl Replica {
    pub(super) fn new(
        (service, number): (Service, usize),
        (listen, admin): (SocketAddr, SocketAddr),
        network: Option<Network>,
        binary: PathBuf,
        log: PathBuf,
    ) -> Self {
        let up = format!(": serving services=[\"spillway.{}.", service.name());
        let launch = Launch { binary, args: Vec::new(), env: Vec::new(), log, up };
        Self { service, number, listen, admin, network, launch, process: None }
    }

    /// Tells it, by its environment, where everything is.
    pub(super) fn configure(
        &mut self,
        database: &str,
        postgres: SocketAddr,
        redis: SocketAddr,
        peers: &[(Service, String)],
        settings: &[(String, String)],
    ) {
        let own = self.service.name();
        let (database, redis) = match &self.network {
            Some(network) => {
                let through = network.postgres.address().to_string();
                (database.replace(&postgres.to_string(), &through), network.redis.address())
            }
            None => (database.to_owned(), redis),
        };
        self.set(&format!("{own}.listen"), &self.listen.to_string());
        self.set(&format!("{own}.database"), &database);
        self.set("data.redis.url", &format!("redis://{redis}"));
        self.set("admin.listen", &self.admin.to_string());
        if self.service == Service::Orchestrator {
            for (service, addresses) in peers.iter().filter(|(service, _)| *service != Service::Orchestrator) {
                self.set(&format!("orchestrator.peers.{}", service.name()), addresses);
            }
        }
        for (key, value) in settings {
            let table = key.split('.').next().unwrap_or_default();
            if table == own || SHARED.contains(&table) {
                self.set(key, value);
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let name = format!("SPILLWAY__{}", key.to_uppercase().replace('.', "__"));
        self.launch.env.push((name, value.to_owned()));
    }

    pub(super) async fn migrate(&self) {
        let mut migrate = Command::new(&self.launch.binary);
        migrate.arg("--migrate").envs(self.launch.env.iter().map(|(name, value)| (name, value)));
        let output = migrate.output().await.unwrap();
        assert!(output.status.success(), "{}: {}", self.name(), String::from_utf8_lossy(&output.stderr));
    }

    /// Whose process it is.
    pub const fn service(&self) -> Service {
        self.service
    }

    /// Which of them, from 0.
    pub const fn number(&self) -> usize {
        self.number
    }

    /// What to call it.
    pub fn name(&self) -> String {
        format!("{}-{}", self.service.name(), self.number)
    }

    /// Where callers find it.
    pub fn address(&self) -> SocketAddr {
        self.network.as_ref().map_or(self.listen, |network| network.callers.address())
    }

    /// The proxies on its ways; the plan must have asked for them.
    pub fn network(&self) -> &Network {
        self.network.as_ref().unwrap_or_else(|| panic!("{} has no proxies: Plan::proxied", self.name()))
    }

    /// Whether there is a process; it may be frozen.
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.launch.tail()
    }

    /// What a number of its metrics is, over all labels; 0 while it has none.
    pub async fn counted(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let ask = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        let samples =
            page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        samples.map(|sample| sample.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Starts it, and waits until it serves.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name());
        let started = self.launch.start().await;
        self.process = Some(started.unwrap_or_else(|error| panic!("{}: {error}", self.name())));
    }

    /// Kills it as a power cut would (SIGKILL).
    pub async fn kill(&mut self) {
        self.take().kill().await.unwrap();
    }

    /// Asks it to end (SIGTERM), and waits until it has, at most for `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        let ended = self.take().terminate(limit).await;
        ended.unwrap_or_else(|error| panic!("{} does not end: {error}\n{}", self.name(), self.log_tail()))
    }

    /// Stops it where it stands (SIGSTOP).
    pub async fn freeze(&self) {
        self.running().freeze().await.unwrap();
    }

    /// Lets it go on (SIGCONT).
    pub async fn thaw(&self) {
        self.running().thaw().await.unwrap();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} is not running", self.name()))
    }

    fn take(&mut self) -> Process {
        self.process.take().unwrap_or_else(|| panic!("{} is not running", self.name()))
    }
}
