//! Replicas share partitions on a real Postgres: each has one holder at a time, epochs only rise, and whoever disappears is
//! replaced in time.
#![expect(clippy::unwrap_used, reason = "this is a test; helpers outside test functions count as such too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway_storage::{
    DataConfig,
    leases::{self, Leases, PARTITIONS, Tenant},
    postgres::Database,
};
use spillway_testkit::{proxy::Proxy, servers};
use spillway_types::id::Partition;
use sqlx::{Connection, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};

/// The tables are the service's that has leases; they are one and the same.
const TABLES: &str = include_str!("../../../services/orchestrator/migrations/postgres/0003_leases.sql");
/// What the design promises, from a holder's last breath to the next holder.
const TAKEOVER: Duration = Duration::from_secs(3);
/// Longer than anything here takes; a test that waits this long has failed.
const NEVER: Duration = Duration::from_secs(30);

/// Who works where, as the tenants themselves see it.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    /// Who works in a partition, and until when that may be.
    tenants: BTreeMap<Partition, (usize, i64)>,
    /// The highest epoch that anybody had.
    epochs: BTreeMap<Partition, i64>,
    /// By when each replica has to have stopped.
    valid_until: BTreeMap<usize, Instant>,
    violations: Vec<String>,
}

struct Worker {
    name: usize,
    ledger: Ledger,
}

struct Cluster {
    database: Database,
    ledger: Ledger,
    replicas: BTreeMap<usize, Leases>,
    joined: usize,
}

// === impl Ledger ===

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    fn held_by(&self, name: usize) -> BTreeSet<Partition> {
        let books = self.books();
        books.tenants.iter().filter(|(_, (tenant, _))| *tenant == name).map(|(partition, _)| *partition).collect()
    }

    fn check(&self) {
        assert_eq!(self.books().violations, Vec::<String>::new());
    }
}

// === impl Worker ===

#[async_trait]
impl Tenant for Worker {
    fn renewed(&self, until: Instant) {
        self.ledger.books().valid_until.insert(self.name, until);
    }

    fn gained(&self, gained: &[(Partition, i64)]) {
        let mut books = self.ledger.books();
        for (partition, epoch) in gained {
            if let Some((tenant, _)) = books.tenants.insert(*partition, (self.name, *epoch)) {
                // Whoever does not know yet that it lost the partition must have stopped by itself.
                let is_over = books.valid_until.get(&tenant).is_none_or(|until| *until <= Instant::now());
                if !is_over || tenant == self.name {
                    books.violations.push(format!("{partition:?} is worked in by {tenant} and {}", self.name));
                }
            }
            let before = books.epochs.insert(*partition, *epoch).unwrap_or_default();
            if before >= *epoch {
                books.violations.push(format!("{partition:?} went from epoch {before} to {epoch}"));
            }
        }
    }

    async fn lost(&self, lost: &[Partition]) {
        // Stopping takes a moment.
        sleep(Duration::from_millis(5)).await;
        let mut books = self.ledger.books();
        for partition in lost {
            if books.tenants.get(partition).is_some_and(|(tenant, _)| *tenant == self.name) {
                books.tenants.remove(partition);
            }
        }
    }
}

// === impl Cluster ===

impl Cluster {
    async fn new(url: &str) -> Self {
        let database = open(url).await;
        let mut connection = database.connect("test").await.unwrap();
        sqlx::raw_sql(TABLES).execute(&mut connection).await.unwrap();
        Self { database, ledger: Ledger::default(), replicas: BTreeMap::new(), joined: 0 }
    }

    fn join(&mut self) -> usize {
        let database = self.database.clone();
        self.join_through(database)
    }

    fn join_through(&mut self, database: Database) -> usize {
        self.joined += 1;
        let name = self.joined;
        let worker = Arc::new(Worker { name, ledger: self.ledger.clone() });
        self.replicas.insert(name, Leases::keep(database, format!("replica {name}"), worker));
        name
    }

    async fn crash(&mut self, name: usize) {
        self.replicas.remove(&name).unwrap().abandon().await;
    }

    async fn leave(&mut self, name: usize) {
        self.replicas.remove(&name).unwrap().hand_back().await;
    }

    /// Waits until each of those who are there has its share and every partition has a tenant. How long that took.
    async fn balanced(&self) -> Duration {
        let before = Instant::now();
        let share = PARTITIONS.div_ceil(self.replicas.len());
        let balanced = async {
            loop {
                let held: Vec<_> = self.replicas.keys().map(|name| self.ledger.held_by(*name).len()).collect();
                if held.iter().sum::<usize>() == PARTITIONS && held.iter().all(|held| *held <= share) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let replicas: Vec<_> = self.replicas.keys().collect();
        assert!(timeout(NEVER, balanced).await.is_ok(), "{replicas:?} do not share fairly: {:?}", self.replicas);
        self.ledger.check();
        before.elapsed()
    }
}

async fn open(url: &str) -> Database {
    let options = PgConnectOptions::from_str(url).unwrap();
    Database::open(&options, &DataConfig::in_directory("unused").postgres).await.unwrap()
}

async fn through(proxy: &Proxy, url: &str) -> Database {
    let options = PgConnectOptions::from_str(url).unwrap();
    let address = proxy.address();
    let options = options.host(&address.ip().to_string()).port(address.port());
    Database::open(&options, &DataConfig::in_directory("unused").postgres).await.unwrap()
}

#[tokio::test]
async fn replicas_share_fairly_and_give_back_what_they_held() {
    let mut cluster = Cluster::new(&servers::postgres().await.fresh("leases").await).await;
    let first = cluster.join();
    cluster.balanced().await;
    assert!(cluster.replicas[&first].check().is_ok());
    cluster.join();
    cluster.balanced().await;
    cluster.join();
    cluster.balanced().await;
    let mut held: Vec<_> = cluster.replicas.keys().map(|name| cluster.ledger.held_by(*name).len()).collect();
    held.sort_unstable();
    assert!(held[0] >= PARTITIONS - 2 * 86, "{held:?}");
    cluster.leave(first).await;
    let gap = cluster.balanced().await;
    println!("handed back and taken after {gap:?}");
    assert!(gap < Duration::from_secs(1), "nobody has to wait for a replica that said goodbye: {gap:?}");
}

#[tokio::test]
async fn what_a_crashed_replica_held_is_taken_within_three_seconds() {
    let mut cluster = Cluster::new(&servers::postgres().await.fresh("leases").await).await;
    let (first, second) = (cluster.join(), cluster.join());
    cluster.balanced().await;
    assert_eq!(cluster.ledger.held_by(second).len(), PARTITIONS / 2);
    let before = Instant::now();
    cluster.crash(first).await;
    cluster.balanced().await;
    let takeover = before.elapsed();
    println!("takeover after {takeover:?}");
    assert!(takeover < TAKEOVER, "{takeover:?}");
    assert!(takeover > Duration::from_secs(1), "its lease had not lapsed: {takeover:?}");
}

#[tokio::test]
async fn a_frozen_transaction_under_a_lease_delays_takeover_no_longer_than_its_idle_limit() {
    let mut cluster = Cluster::new(&servers::postgres().await.fresh("leases").await).await;
    let first = cluster.join();
    cluster.balanced().await;
    let mut frozen = cluster.database.connect("frozen").await.unwrap();
    let mut transaction = frozen.begin().await.unwrap();
    let epochs = leases::lock(&mut transaction, [Partition(3), Partition(200)]).await.unwrap();
    assert_eq!(epochs.keys().copied().collect::<Vec<_>>(), [Partition(3), Partition(200)]);
    let before = Instant::now();
    cluster.crash(first).await;
    cluster.join();
    cluster.balanced().await;
    println!("takeover after {:?}", before.elapsed());
    assert!(before.elapsed() < TAKEOVER, "{:?}", before.elapsed());
    assert!(transaction.commit().await.is_err(), "what was begun under the old lease cannot end well");
}

#[tokio::test]
async fn a_replica_that_is_cut_off_stops_before_anybody_takes_its_place_and_begins_anew() {
    let url = servers::postgres().await.fresh("leases").await;
    let mut cluster = Cluster::new(&url).await;
    let target = PgConnectOptions::from_str(&url).unwrap();
    let target: SocketAddr = format!("127.0.0.1:{}", target.get_port()).parse().unwrap();
    let proxy = Proxy::to(target).await.unwrap();
    let cut_off = cluster.join_through(through(&proxy, &url).await);
    let other = cluster.join();
    cluster.balanced().await;
    let epochs = cluster.ledger.books().epochs.clone();

    let before = Instant::now();
    proxy.set_both(spillway_testkit::proxy::Fault::Hole);
    let mut standing = cluster.replicas[&cut_off].standing();
    timeout(NEVER, standing.wait_for(|standing| standing.held == 0)).await.unwrap().unwrap();
    let stopped = before.elapsed();
    println!("stopped after {stopped:?}");
    assert!(stopped < Duration::from_millis(1_500), "{stopped:?}");
    assert!(cluster.replicas[&cut_off].check().is_err());
    while cluster.ledger.held_by(other).len() < PARTITIONS {
        assert!(before.elapsed() < TAKEOVER, "nobody took over: {:?}", cluster.replicas);
        sleep(Duration::from_millis(5)).await;
    }
    println!("taken over after {:?}", before.elapsed());
    proxy.heal();
    cluster.balanced().await;
    assert!(cluster.replicas[&cut_off].check().is_ok());
    let now = cluster.ledger.books().epochs.clone();
    let regained = cluster.ledger.held_by(cut_off);
    assert!(!regained.is_empty() && regained.iter().all(|partition| now[partition] > epochs[partition]));
}

#[tokio::test]
async fn whoever_comes_and_goes_each_partition_has_one_tenant_and_rising_epochs() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::new(&servers::postgres().await.fresh("leases").await).await;
    cluster.join();
    for _ in 0..14 {
        let names: Vec<_> = cluster.replicas.keys().copied().collect();
        let one = names[rng.random_range(0..names.len())];
        match rng.random_range(0..4) {
            0 if names.len() > 1 => cluster.leave(one).await,
            1 if names.len() > 1 => cluster.crash(one).await,
            _ if names.len() < 5 => drop(cluster.join()),
            _ => cluster.leave(one).await,
        }
        sleep(Duration::from_millis(rng.random_range(0..1_200))).await;
        cluster.ledger.check();
    }
    cluster.balanced().await;
    for name in cluster.replicas.keys().copied().collect::<Vec<_>>() {
        cluster.leave(name).await;
        cluster.ledger.check();
    }
    let mut connection = cluster.database.connect("test").await.unwrap();
    let left: (i64, i64) =
        sqlx::query_as("select (select count(*) from lease where holder is not null), (select count(*) from replica)")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(left.0, 0, "everything was handed back: {left:?}");
}
