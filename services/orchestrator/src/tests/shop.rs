//! Replicas of the service in one process, over participants in memory that keep their promises.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use spillway_contracts::{
    convert::to_money,
    fulfilment::v1 as fulfilment,
    inventory::v1 as inventory,
    orchestrator::v1::{PaymentMethod, PlaceOrderRequest},
    order::v1 as order,
    payment::v1 as payment,
    types::v1::{Address, Line},
};
use spillway_storage::{Resources, group_commit::Limits};
use spillway_types::{BuyerId, Fault, Money, Reason, RequestId, Sku};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    Config, Links, Service,
    clients::{Catalogue, Command, Reply, Transport},
    config::{Peers, SagaConfig, StepConfig},
    rpc::Api,
    worker::Workers,
};

/// How long a participant takes.
const LATENCY: Duration = Duration::from_millis(2);

/// The participants: one row a payment, which is what decides; the rest says yes.
#[derive(Clone, Default)]
pub(super) struct Participants(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    captured: BTreeSet<String>,
    voided: BTreeSet<String>,
    /// Calls that get no answer.
    mute: BTreeSet<&'static str>,
    /// When each call last had its effect, by its name and the order.
    calls: BTreeMap<(&'static str, String), Instant>,
}

/// One replica.
pub(super) struct Replica {
    pub(super) api: Api,
    pub(super) workers: Workers,
    _directory: TempDir,
}

// === impl Participants ===

impl Participants {
    /// From now on, a call gets no answer and has no effect.
    pub(super) fn mute(&self, call: &'static str) {
        self.rows().mute.insert(call);
    }

    pub(super) fn unmute(&self) {
        self.rows().mute.clear();
    }

    /// When a call last had its effect.
    pub(super) fn called(&self, call: &'static str, order_id: &str) -> Option<Instant> {
        self.rows().calls.get(&(call, order_id.to_owned())).copied()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Transport for Participants {
    async fn send(&self, command: Command, timeout: Duration) -> Result<Reply, Fault> {
        sleep(LATENCY).await;
        if self.rows().mute.contains(command.name()) {
            sleep(timeout).await;
            return Err(Fault::new(Reason::DeadlineExceeded, "no answer"));
        }
        let mut rows = self.rows();
        rows.calls.insert((command.name(), subject(&command)), Instant::now());
        rows.answer(command)
    }
}

// === impl Rows ===

impl Rows {
    fn answer(&mut self, command: Command) -> Result<Reply, Fault> {
        Ok(match command {
            Command::Reserve(request) => {
                let line = |line: &Line| inventory::ReservationLine {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                    unit_price: Some(to_money(Money::new(1_000, "EUR".parse().unwrap()))),
                    ..Default::default()
                };
                let lines = request.lines.iter().map(line).collect();
                Reply::Reservation(inventory::Reservation { lines, ..Default::default() })
            }
            Command::ReleaseReservation(_) => {
                let state = inventory::ReservationState::Released.into();
                Reply::Reservation(inventory::Reservation { state, ..Default::default() })
            }
            Command::ConfirmReservation(_) => Reply::Reservation(inventory::Reservation::default()),
            Command::CreateOrder(_) => Reply::Order(Box::default()),
            Command::AdvanceOrder(request) => {
                Reply::Order(Box::new(order::Order { state: request.to_state, ..Default::default() }))
            }
            Command::Authorize(_) => paid(payment::PaymentState::Authorized),
            Command::Capture(request) if self.voided.contains(&request.payment_id) => return Err(Fault::tombstone()),
            Command::Capture(request) => {
                self.captured.insert(request.payment_id);
                paid(payment::PaymentState::Captured)
            }
            Command::Void(request) if self.captured.contains(&request.payment_id) => {
                paid(payment::PaymentState::Captured)
            }
            Command::Void(request) => {
                self.voided.insert(request.payment_id);
                paid(payment::PaymentState::Voided)
            }
            Command::CancelShipments(_) => {
                let state = fulfilment::PlanState::Cancelled.into();
                Reply::Plan(fulfilment::ShipmentPlan { state, ..Default::default() })
            }
            Command::PlanShipments(_) | Command::DispatchShipments(_) => {
                Reply::Plan(fulfilment::ShipmentPlan::default())
            }
        })
    }
}

/// The order that a command is about.
fn subject(command: &Command) -> String {
    match command {
        Command::Reserve(request) => &request.order_id,
        Command::ReleaseReservation(request) => &request.reservation_id,
        Command::ConfirmReservation(request) => &request.reservation_id,
        Command::CreateOrder(request) => &request.order_id,
        Command::AdvanceOrder(request) => &request.order_id,
        Command::Authorize(request) => &request.order_id,
        Command::Void(request) => &request.payment_id,
        Command::Capture(request) => &request.payment_id,
        Command::PlanShipments(request) => &request.order_id,
        Command::CancelShipments(request) => &request.order_id,
        Command::DispatchShipments(request) => &request.order_id,
    }
    .clone()
}

#[async_trait]
impl Catalogue for Participants {
    async fn item(&self, _: &Sku) -> Result<inventory::Item, Fault> {
        Err(Fault::internal())
    }

    async fn wallet(&self, _: &BuyerId) -> Result<payment::Wallet, Fault> {
        Err(Fault::internal())
    }
}

/// Quick enough for tests; nobody waits for a step that gets no answer.
fn config(url: &str) -> Config {
    let saga = SagaConfig {
        active_max: 10_000,
        scan_interval_ms: 2_000,
        resume_per_second: 2_000,
        park_after: 8,
        parked_retry_ms: 60_000,
        drain_ms: 1_000,
    };
    let step = StepConfig { attempt_timeout_ms: 100, backoff_ms: 10, backoff_max_ms: 50, patience_ms: 60_000 };
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        database: url.parse().unwrap(),
        peers: Peers {
            order: String::new(),
            inventory: String::new(),
            payment: String::new(),
            fulfilment: String::new(),
        },
        saga,
        step,
        write: Limits { batch_max: 512, queue_max: 16_384 },
    }
}

fn paid(state: payment::PaymentState) -> Reply {
    Reply::Payment(Box::new(payment::Payment { state: state.into(), ..Default::default() }))
}

/// A request for an order, with a key of its own.
pub(super) fn wish() -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: RequestId::random().to_string(),
        buyer_id: "ada".to_owned(),
        lines: vec![Line { sku: "TEE".to_owned(), quantity: 1 }],
        payment_method: Some(PaymentMethod { instrument: "sandbox:approved".to_owned() }),
        shipping_address: Some(Address { region: "DE".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

// === impl Replica ===

impl Replica {
    /// Starts one on the database at `url`.
    pub(super) async fn start(url: &str, participants: &Participants) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let resources = Resources::in_directory(directory.path());
        let links = Links { transport: Arc::new(participants.clone()), catalogue: Arc::new(participants.clone()) };
        let service = Service::open(config(url), links, &resources).await.unwrap();
        let Service { api, shared, .. } = service;
        let workers = Workers::start(&api.engine, shared, "a test");
        Self { api, workers, _directory: directory }
    }

    /// Whether it may place orders.
    pub(super) fn is_ready(&self) -> bool {
        self.workers.leases_probe().is_none_or(|probe| probe().is_ok())
    }

    /// Waits until it may place orders.
    pub(super) async fn ready(&self) {
        until("a replica holds leases", || self.is_ready()).await;
    }
}

/// Waits for a condition. A test that waits for longer than anything takes has failed.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let before = Instant::now();
    while !holds() {
        assert!(before.elapsed() < Duration::from_secs(30), "never: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}
