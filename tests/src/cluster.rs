//! The platform as it runs in production, on one machine: real processes, several of each service, on a Postgres and a
//! Redis of the test's own, with a proxy on every way where the test wants one.

mod replica;
mod service;

use std::{net::SocketAddr, path::PathBuf, process::ExitStatus, time::Duration};

use futures_util::future::join_all;
use spillway::config::Settings;
use spillway_testkit::{
    ports, process,
    servers::{Postgres, PrivatePostgres, RedisServer},
};
use tempfile::TempDir;
use tokio::process::Command;

pub use replica::{Network, Replica};
pub use service::Service;

use crate::shop::{Shop, at_rest, until};

/// How long sagas may be under way once all faults are over (invariant I7).
pub const REST: Duration = Duration::from_secs(30);
/// How long a process may take to end once it was asked to: its drain, and a little.
const END_MAX: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Processes of each service.
    pub replicas: usize,
    /// Whether there is a proxy on each process's ways: from its callers, to Postgres and to Redis.
    pub proxied: bool,
    /// Settings over the defaults, by dotted key; each process takes those that it knows.
    pub settings: Vec<(String, String)>,
}

/// A running platform. Dropped, it is killed, and its servers end.
#[derive(Debug)]
pub struct Cluster {
    replicas: Vec<Replica>,
    /// The truth of all services, a database each.
    pub postgres: PrivatePostgres,
    /// Gate, streams, cache.
    pub redis: RedisServer,
    databases: Vec<(Service, String)>,
    binaries: PathBuf,
    directory: TempDir,
}

// === impl Plan ===

impl Default for Plan {
    fn default() -> Self {
        Self { replicas: 2, proxied: false, settings: Vec::new() }
    }
}

impl Plan {
    /// With a setting over the defaults.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// With a proxy on each process's ways.
    #[must_use]
    pub fn proxied(self) -> Self {
        Self { proxied: true, ..self }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Starts all processes and waits until each of them serves.
    pub async fn start(plan: Plan) -> Self {
        let binaries = process::build_all().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (postgres, redis) = tokio::join!(Postgres::private(), RedisServer::private());
        let mut databases = Vec::new();
        for service in Service::ALL {
            databases.push((service, postgres.fresh(service.name()).await));
        }
        let mut cluster = Self { replicas: Vec::new(), postgres, redis, databases, binaries, directory };
        cluster.plan(&plan).await;
        cluster.migrate().await;
        // Those that call the others come last.
        for orchestrators in [false, true] {
            let replicas = cluster.replicas.iter_mut();
            let starting = replicas.filter(|replica| (replica.service() == Service::Orchestrator) == orchestrators);
            join_all(starting.map(Replica::start)).await;
        }
        cluster
    }

    /// Settles where everything will be.
    async fn plan(&mut self, plan: &Plan) {
        // Each has one for callers and one for operators.
        let ports = ports::some(2 * plan.replicas * Service::ALL.len()).unwrap();
        let mut ports = ports.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for number in 0..plan.replicas {
            for service in Service::ALL {
                let (listen, admin) = (ports.next().unwrap(), ports.next().unwrap());
                let network = match plan.proxied {
                    true => Some(Network::new(listen, self.postgres.address(), self.redis.address()).await),
                    false => None,
                };
                let log = self.directory.path().join(format!("{}-{number}.log", service.name()));
                let binary = self.binaries.join(service.name());
                self.replicas.push(Replica::new((service, number), (listen, admin), network, binary, log));
            }
        }
        let peers: Vec<_> = Service::ALL.map(|service| (service, self.peers(service))).into();
        let (redis, postgres) = (self.redis.address(), self.postgres.address());
        for replica in &mut self.replicas {
            let database = self.databases.iter().find(|(service, _)| *service == replica.service());
            replica.configure(&database.unwrap().1, postgres, redis, &peers, &plan.settings);
        }
    }

    /// As a deployment does it: once a service, before any of its processes starts.
    async fn migrate(&self) {
        for replica in self.replicas.iter().filter(|replica| replica.number() == 0) {
            replica.migrate().await;
        }
    }

    /// Where all replicas of `service` are, with commas between.
    pub fn peers(&self, service: Service) -> String {
        let replicas = self.replicas.iter().filter(|replica| replica.service() == service);
        replicas.map(|replica| format!("http://{}", replica.address())).collect::<Vec<_>>().join(",")
    }

    /// The URL of a service's database.
    pub fn database(&self, service: Service) -> &str {
        &self.databases.iter().find(|(whose, _)| *whose == service).unwrap().1
    }

    /// Clients over all replicas, which retry by the documented policy.
    pub fn shop(&self) -> Shop {
        let client = Settings::load(None, &[]).unwrap().client;
        Shop::among(|service| self.peers(service.parse().unwrap()), &client)
    }

    /// A process of `service`, from 0.
    pub fn replica(&mut self, service: Service, number: usize) -> &mut Replica {
        let found = self.replicas.iter_mut().find(|replica| replica.service() == service && replica.number() == number);
        found.unwrap_or_else(|| panic!("there is no {service:?} {number}"))
    }

    /// All processes.
    pub fn replicas(&mut self) -> &mut [Replica] {
        &mut self.replicas
    }

    /// Waits until no saga is under way.
    pub async fn rest(&self) {
        let shop = self.shop();
        until("every saga has ended", REST, || at_rest(shop.clone())).await;
    }

    /// What `spillway verify` says; it fails the test unless that is "clean".
    pub async fn verify(&self) {
        let mut verify = Command::new(self.binaries.join("spillway"));
        verify.arg("verify");
        for (service, url) in &self.databases {
            verify.arg("--set").arg(format!("{}.database={url}", service.name()));
        }
        let output = verify.current_dir(self.directory.path()).output().await.unwrap();
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "verify: {}\n{said}\n{wrong}", output.status);
    }

    /// Asks all processes to end, and waits until they have: in good order, or the test fails.
    pub async fn stop(&mut self) {
        // Those that start work end before those that do it.
        for orchestrators in [true, false] {
            let ending = self.replicas.iter_mut().filter(|replica| {
                replica.is_running() && (replica.service() == Service::Orchestrator) == orchestrators
            });
            for (name, ended) in join_all(ending.map(end)).await {
                assert!(ended.success(), "{name} ended with {ended}");
            }
        }
    }

    /// Waits until the gate of `sku` counts, as it does not while Redis is gone or has forgotten.
    pub async fn gate_counts(&self, sku: &str) {
        until("the gate counts", REST, async || (!self.gate(sku).await?.is_empty()).then_some(())).await;
    }

    /// What the gate would let through; nothing while it does not count.
    async fn gate(&self, sku: &str) -> Option<String> {
        self.redis.command(&format!("HGET spillway:gate:{{{sku}}} left")).await.ok()
    }

    /// Waits until the gate of `sku` says what the ledger says, or nothing, in which case everybody is let through to the
    /// ledger.
    pub async fn gate_equals_ledger(&self, sku: &str) {
        let mut shop = self.shop();
        let available = shop.item(sku).await.available.to_string();
        until("the gate equals the ledger", REST, async || {
            let gate = self.gate(sku).await?;
            (gate.is_empty() || gate == available).then_some(())
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for replica in &self.replicas {
                println!("== {}\n{}\n", replica.name(), replica.log_tail());
            }
        }
    }
}

async fn end(replica: &mut Replica) -> (String, ExitStatus) {
    let ended = replica.terminate(END_MAX).await;
    (replica.name(), ended)
}
