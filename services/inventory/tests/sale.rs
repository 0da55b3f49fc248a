//! A flash sale on two replicas with one Postgres, whose gate's Redis is emptied and frozen in the middle.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use spillway_contracts::{
    convert::to_money,
    inventory::v1::{
        CreateItemRequest, GetItemRequest, Item, ReleaseReservationRequest, ReserveRequest,
        inventory_service_client::InventoryServiceClient,
    },
    types::v1::Line,
};
use spillway_inventory::{
    Config, Service,
    config::GateConfig,
    store::gate::{Gate, Totals, differences, redis::RedisCounters},
    store::{SCHEMA, postgres::PgReader},
};
use spillway_middleware::status::to_fault;
use spillway_runtime::{ServerConfig, policies};
use spillway_storage::{
    Resources,
    config::RedisConfig,
    database::{Database, DatabaseUrl},
    group_commit::Limits,
    redis::Redis,
};
use spillway_testkit::servers::{self, RedisServer};
use spillway_types::{
    BuyerId, Clock, Fault, Money, OrderId, Reason, RequestId, Sku, SystemClock, fault::Class, id::Partition,
};
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// How long anything here may take; far more than it does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Invariant I14: so soon after the last change the gate is equal to the ledger.
const IN_STEP: Duration = Duration::from_secs(30);
const BUYERS: usize = 3_000;
const AT_ONCE: usize = 64;
const UNITS: i64 = 200;
/// One in so many promises is given up by its buyer.
const GIVES_UP: usize = 5;

type Client = InventoryServiceClient<Channel>;

struct Replica {
    client: Client,
    gate: Arc<Gate>,
    serving: JoinHandle<()>,
}

impl Replica {
    async fn start(url: &DatabaseUrl, resources: &Resources, shutdown: &CancellationToken) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config {
            listen: address,
            database: url.clone(),
            sweep_interval_ms: 1_000,
            write: Limits { batch_max: 64, queue_max: 1_024 },
            gate: GateConfig { interval_ms: 1_000, budget_ms: 2, skus_max: 16 },
        };
        let service = Service::open(config, resources).await.unwrap();
        let (gate, shutdown) = (service.gate(), shutdown.clone());
        let serving = tokio::spawn(async move {
            service.serve(&ServerConfig::default(), &policies(), listener, shutdown).await.unwrap();
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { client: InventoryServiceClient::new(channel), gate, serving }
    }
}

fn reserve() -> ReserveRequest {
    let order_id = OrderId::mint(SystemClock.now(), &BuyerId::new("ada").unwrap(), Partition(0));
    ReserveRequest {
        request_id: RequestId::random().to_string(),
        order_id: order_id.to_string(),
        buyer_id: "ada".to_owned(),
        lines: vec![Line { sku: "HOT".to_owned(), quantity: 1 }],
        ttl: None,
        pinned: true,
        retry: false,
    }
}

/// Asks until there is an answer that decides something, the second time and later on another replica.
async fn settled(clients: &[Client], first: usize, mut request: ReserveRequest) -> Result<(), Fault> {
    let asked = async {
        for n in first.. {
            match clients[n % clients.len()].clone().reserve(request.clone()).await {
                Ok(_) => return Ok(()),
                Err(status) => {
                    let fault = to_fault(&status);
                    if fault.reason.class() == Class::Terminal {
                        return Err(fault);
                    }
                }
            }
            request.retry = true;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        unreachable!("there are enough numbers")
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

async fn give_up(client: &Client, order_id: &str) {
    let (request_id, reservation_id) = (RequestId::random().to_string(), order_id.to_owned());
    let request = ReleaseReservationRequest { request_id, reservation_id, reason: "changed my mind".to_owned() };
    client.clone().release_reservation(request).await.unwrap();
}

async fn connected(server: &RedisServer) -> Redis {
    let config = RedisConfig {
        url: server.url().to_owned(),
        password_file: std::path::PathBuf::default(),
        connections: 2,
        timeout_ms: 500,
    };
    let redis = Redis::new(&config).unwrap();
    tokio::time::timeout(PATIENCE, redis.up()).await.unwrap();
    redis
}

async fn stock(client: &Client) {
    let request = CreateItemRequest {
        request_id: RequestId::random().to_string(),
        sku: "HOT".to_owned(),
        title: "hot".to_owned(),
        price: Some(to_money(Money::new(1_999, "EUR".parse().unwrap()))),
        on_hand: UNITS,
    };
    client.clone().create_item(request).await.unwrap();
}

async fn item(client: &Client) -> Item {
    let request = GetItemRequest { sku: "HOT".to_owned() };
    client.clone().get_item(request).await.unwrap().into_inner().item.unwrap()
}

/// A buyer's whole story: whether a unit is theirs in the end.
async fn buy(clients: &[Client], n: usize) -> bool {
    let request = reserve();
    let order_id = request.order_id.clone();
    match settled(clients, n, request).await {
        Ok(()) if n.is_multiple_of(GIVES_UP) => {
            give_up(&clients[n % clients.len()], &order_id).await;
            false
        }
        Ok(()) => true,
        Err(fault) => {
            assert_eq!(fault.reason, Reason::OutOfStock, "{fault:?}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_whose_gate_loses_its_data_and_its_server_sells_exactly_its_stock() {
    let server = RedisServer::private().await;
    let redis = connected(&server).await;
    let url: DatabaseUrl = servers::postgres().await.fresh("sale").await.parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let resources = Resources { redis: Some(redis.clone()), ..Resources::in_directory(directory.path()) };
    let shutdown = CancellationToken::new();
    let replicas =
        [Replica::start(&url, &resources, &shutdown).await, Replica::start(&url, &resources, &shutdown).await];
    let clients: Vec<_> = replicas.iter().map(|replica| replica.client.clone()).collect();
    stock(&clients[0]).await;
    let (arrived, bought) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let crowd = stream::iter(0..BUYERS).for_each_concurrent(AT_ONCE, |n| {
        let (clients, arrived, bought) = (&clients, &arrived, &bought);
        async move {
            arrived.fetch_add(1, Ordering::Relaxed);
            bought.fetch_add(usize::from(buy(clients, n).await), Ordering::Relaxed);
        }
    });
    let mishaps = async {
        reached(&arrived, BUYERS / 20).await;
        server.flushall().await;
        reached(&arrived, BUYERS / 4).await;
        server.freeze().await;
        reached(&arrived, BUYERS / 2).await;
        server.thaw().await;
        reached(&arrived, BUYERS * 3 / 4).await;
        server.flushall().await;
    };
    tokio::join!(crowd, mishaps);

    // What was given up last is still there for whoever comes now; nothing stays unsellable.
    let quiet = Instant::now();
    while item(&clients[0]).await.available > 0 {
        assert!(quiet.elapsed() < PATIENCE, "{:?} cannot be sold", item(&clients[0]).await);
        let came = settled(&clients, 1, reserve()).await;
        bought.fetch_add(usize::from(came.is_ok()), Ordering::Relaxed);
    }
    println!("sold out {:?} after the crowd had gone", quiet.elapsed());
    let sold = item(&clients[0]).await;
    let bought = i64::try_from(bought.load(Ordering::Relaxed)).unwrap();
    assert_eq!((sold.available, sold.held, bought), (0, UNITS, UNITS));

    let (last_change, skus) = (Instant::now(), [Sku::new("HOT").unwrap()]);
    let Database::Postgres(database) = Database::open(&url, &resources.data, &SCHEMA).await.unwrap() else {
        panic!("replicas share a server");
    };
    let (counters, reader) = (RedisCounters::new(redis), PgReader::new(database));
    while !differences(&counters, &reader, &skus).await.unwrap().is_empty() {
        assert!(last_change.elapsed() < IN_STEP, "{:?}", differences(&counters, &reader, &skus).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("gate equal to ledger {:?} after the last change", last_change.elapsed());
    let totals = replicas.iter().map(|replica| replica.gate.totals()).fold(Totals::default(), |sum, each| Totals {
        asked: sum.asked + each.asked,
        refused: sum.refused + each.refused,
        failed_open: sum.failed_open + each.failed_open,
    });
    println!("{totals:?}");
    assert!(totals.refused > 0 && totals.failed_open > 0, "the gate neither refused nor stood open: {totals:?}");
    shutdown.cancel();
    for replica in replicas {
        replica.serving.await.unwrap();
    }
}

async fn reached(arrived: &AtomicUsize, count: usize) {
    while arrived.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
