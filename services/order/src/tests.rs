//! The whole service, asked over real gRPC.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use spillway_contracts::{
    google::type_::Money,
    order::v1::{
        ActorRole, AdvanceOrderRequest, CreateOrderRequest, GetOrderRequest, OrderState, WatchOrderRequest,
        order_service_client::OrderServiceClient,
    },
    types::v1::{Address, PriceSnapshot, PricedLine},
};
use spillway_middleware::status::to_fault;
use spillway_runtime::{ServerConfig, policies};
use spillway_storage::{
    Resources,
    bus::{Bus, Consumer, Event, InProcessBus, NotTaken, letterbox::MemoryLetterbox},
    group_commit::Limits,
};
use spillway_types::{Clock, EventId, OrderId, Reason, RequestId, SystemClock, id::Partition};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{Config, Service, config::WatchConfig};

mod replicas;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// A running service.
struct Running {
    client: OrderServiceClient<Channel>,
    bus: Arc<InProcessBus>,
    heard: Arc<Ear>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// One of several on one database.
struct Replica {
    client: OrderServiceClient<Channel>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// Takes every move that the service publishes.
#[derive(Debug, Default)]
struct Ear(Mutex<Vec<(String, i64)>>);

#[async_trait]
impl Consumer for Ear {
    fn name(&self) -> &'static str {
        "ear"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["order.state_changed"]
    }

    async fn take(&self, events: Vec<Event>) -> Result<(), NotTaken> {
        self.0.lock().unwrap().extend(events.into_iter().map(|event| (event.key, event.sequence)));
        Ok(())
    }
}

async fn start(directory: &Path) -> Running {
    let (bus, heard) = (Arc::new(InProcessBus::default()), Arc::new(Ear::default()));
    let resources = Resources::in_directory(directory).with_bus(Arc::<InProcessBus>::clone(&bus));
    let Replica { client, shutdown, serving } = start_on("sqlite:", &resources).await;
    bus.subscribe(Arc::<Ear>::clone(&heard), Arc::new(MemoryLetterbox::default()));
    Running { client, bus, heard, shutdown, serving }
}

/// Starts a replica on the database at `url`.
async fn start_on(url: &str, resources: &Resources) -> Replica {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = listener.local_addr().unwrap();
    let config = Config {
        listen,
        database: url.parse().unwrap(),
        write: Limits { batch_max: 64, queue_max: 1_024 },
        watch: WatchConfig { streams_max: 16, buffer: 16, slow_reader_ms: 1_000 },
    };
    let service = Service::open(config, resources).await.unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let serving = tokio::spawn(async move {
        service.serve(&ServerConfig::default(), &policies(), listener, stop).await.unwrap();
    });
    let client = OrderServiceClient::new(Endpoint::try_from(format!("http://{listen}")).unwrap().connect_lazy());
    Replica { client, shutdown, serving }
}

fn euros(units: i64) -> Option<Money> {
    Some(Money { currency_code: "EUR".to_owned(), units, nanos: 0 })
}

fn create(order_id: OrderId) -> CreateOrderRequest {
    let line = PricedLine {
        sku: "TEE".to_owned(),
        title: "A tee".to_owned(),
        quantity: 2,
        unit_price: euros(20),
        line_total: euros(40),
    };
    let price = PriceSnapshot {
        lines: vec![line],
        goods_total: euros(40),
        shipping: euros(5),
        discount: None,
        total: euros(45),
    };
    CreateOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: order_id.to_string(),
        buyer_id: "ada".to_owned(),
        price: Some(price),
        shipping_address: Some(Address { region: "EU".to_owned(), ..Address::default() }),
    }
}

fn advance(order_id: OrderId, to: OrderState) -> AdvanceOrderRequest {
    AdvanceOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: order_id.to_string(),
        to_state: to.into(),
        expected_version: None,
        reason: "because".to_owned(),
        actor_role: ActorRole::Saga.into(),
        buyer_id: String::new(),
    }
}

fn news(order_id: OrderId, sequence: i64, state: &str) -> Event {
    Event {
        event_id: EventId::random(),
        topic: "fulfilment.shipments".to_owned(),
        key: order_id.to_string(),
        sequence,
        occurred_at: SystemClock.now(),
        payload: format!(r#"{{"order_id":"{order_id}","order_state":"{state}"}}"#),
    }
}

#[tokio::test]
async fn an_order_is_placed_paid_shipped_and_watched_and_every_move_is_published() {
    use OrderState::{Delivered, Fulfilling, Paid, Pending, Shipped};
    let directory = tempfile::tempdir().unwrap();
    let Running { mut client, bus, heard, shutdown, serving } = start(directory.path()).await;
    let id = OrderId::mint(SystemClock.now(), &"ada".parse().unwrap(), Partition(1));
    let watch = WatchOrderRequest { order_id: id.to_string(), after_version: 0 };
    let mut watching = client.watch_order(watch.clone()).await.unwrap().into_inner();

    client.create_order(create(id)).await.unwrap();
    client.advance_order(advance(id, Paid)).await.unwrap();
    for (sequence, state) in (1..).zip(["PLANNED", "DISPATCHED", "HANDED_OVER", "DELIVERED"]) {
        bus.publish(&[news(id, sequence, state)]).await.unwrap();
    }
    let mut states = Vec::new();
    for _ in 0..5 {
        states.push(watching.message().await.unwrap().unwrap().event.unwrap().to_state());
    }
    assert_eq!(states, [Pending, Paid, Fulfilling, Shipped, Delivered]);
    let all_published = async {
        while heard.0.lock().unwrap().len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), all_published).await.unwrap();
    let expected: Vec<_> = (1..=5).map(|sequence| (id.to_string(), sequence)).collect();
    assert_eq!(*heard.0.lock().unwrap(), expected);

    shutdown.cancel();
    let told = to_fault(&watching.message().await.unwrap_err());
    assert_eq!(told.reason, Reason::Draining, "a stream does not hold up the exit");
    tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();

    // With the bus goes the consumer, and with it the last hold on the writer.
    drop(bus);
    let Running { mut client, shutdown, serving, .. } = start(directory.path()).await;
    let got = client.get_order(GetOrderRequest { order_id: id.to_string() }).await.unwrap().into_inner();
    assert_eq!(got.order.unwrap().state(), Delivered);
    let again = client.create_order(create(id)).await.unwrap().into_inner().order.unwrap();
    assert_eq!((again.state(), again.version), (Delivered, 5), "a repeat after the restart");
    let mut resumed = client.watch_order(WatchOrderRequest { after_version: 4, ..watch }).await.unwrap().into_inner();
    assert_eq!(resumed.message().await.unwrap().unwrap().event.unwrap().version, 5);
    drop((client, resumed));
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
}
