//! A small shop in which all is as it must be, written by the services' own stores.

use std::{sync::Arc, time::Duration};

use spillway_fulfilment::{
    domain::{
        self as parcels, CarrierEvent,
        command::{CancelShipments, CreateWarehouse, PlanShipments, RecordCarrierEvent},
    },
    store::Desk,
};
use spillway_inventory::{
    domain::{
        self as stock, Hold,
        command::{AdjustStock, Confirm, CreateItem, Reserve},
    },
    store::Ledger,
};
use spillway_orchestrator::{
    domain::{PriceSnapshot, PricedLine, order::Address},
    store::DurableLog,
};
use spillway_order::{
    domain::{self as orders, Move, Role},
    store::{Orders, hub::Hub},
};
use spillway_payment::{
    clients::sandbox::Sandbox,
    domain::{
        self as till,
        command::{Authorize, GrantPoints, IssueCoupon, Refunding, Void},
    },
    store::Till,
    worker::settle::Settler,
};
use spillway_saga::{
    End, Kind, Log, Record, SagaId, SagaRow, Status, StepState,
    log::{Journal, JournalStep},
    state::Direction,
};
use spillway_storage::{Committer, Resources, group_commit::Limits};
use spillway_types::{
    Clock, Fault, Fingerprint, ManualClock, Money, OrderId, Reason, RequestId, ShipmentId, SystemClock, TenantId,
    Timestamp, id::Partition,
};

use self::wish::{Wish, buyer};
use super::Places;

mod wish;

const LIMITS: Limits = Limits { batch_max: 64, queue_max: 1_024 };
/// The provider answers at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long ago all of it happened: long enough to be at rest, and within the time that records are kept.
const AGO: Duration = Duration::from_secs(3_600);

const STEPS: [(&str, Kind); 8] = [
    ("reserve_stock", Kind::Compensatable),
    ("create_order", Kind::Compensatable),
    ("authorize_payment", Kind::Compensatable),
    ("plan_shipments", Kind::Compensatable),
    ("capture_payment", Kind::Pivot),
    ("confirm_reservation", Kind::Retriable),
    ("confirm_order", Kind::Retriable),
    ("dispatch_shipments", Kind::Retriable),
];

/// The services' stores, without the services.
pub(super) struct Shop {
    clock: ManualClock,
    stock: Committer<Ledger>,
    orders: Committer<Orders>,
    till: Committer<Till>,
    settler: Settler,
    parcels: Committer<Desk>,
    log: DurableLog,
}

/// Orders by their buyers' names.
pub(super) type Ids = Vec<(&'static str, OrderId)>;

pub(super) fn euros(cents: i64) -> Money {
    Money::new(cents, "EUR".parse().unwrap())
}

impl Shop {
    /// A shop in the databases at `places`. In files its time is an hour ago; a server has its own clock.
    pub(super) async fn open(places: &Places) -> Self {
        let now = SystemClock.now().as_micros();
        let ago = if places.any_served() { 0 } else { i64::try_from(AGO.as_micros()).unwrap() };
        let clock = ManualClock::at(Timestamp::from_micros(now - ago));
        let resources = Resources::embedded(places.data.clone()).with_clock(Arc::new(clock.clone()));
        let at = |schema: &str| &places.all.iter().find(|place| place.schema == schema).unwrap().url;
        let (_, stock, _) = spillway_inventory::store::open(at("inventory"), LIMITS, &resources).await.unwrap();
        let orders = spillway_order::store::open(at("orders"), LIMITS, &resources, &Hub::new(1)).await.unwrap();
        let (_, till, _) = spillway_payment::store::open(at("payment"), LIMITS, &resources).await.unwrap();
        let sandbox = Sandbox::open(at("sandbox"), LIMITS, Duration::ZERO, &resources).await.unwrap();
        let (_, parcels, _) = spillway_fulfilment::store::open(at("fulfilment"), LIMITS, &resources).await.unwrap();
        let opened = spillway_orchestrator::store::open(at("orchestrator"), LIMITS, &resources).await.unwrap();
        Self {
            stock,
            orders: orders.committer,
            settler: Settler::new(till.clone(), Arc::new(sandbox), PATIENCE),
            till,
            parcels,
            log: opened.log(),
            clock,
        }
    }

    /// Everything that can become of an order, once.
    pub(super) async fn trade(&self) -> Ids {
        self.stock_up().await;
        let card = "sandbox:approved";
        let lines = &[("MUG", 1), ("TEE", 2)];
        let ada = Wish { buyer: "ada", lines, points: 500, coupon: Some("TEN"), instrument: card };
        let bob = Wish { instrument: "sandbox:declined", ..Wish::of("bob", &[("MUG", 1)]) };
        let ids = vec![
            ("ada", self.sell(&ada).await),
            ("bob", self.turn_back(&bob).await),
            ("cyd", self.refuse(&Wish::of("cyd", &[("TEE", 99)])).await),
            ("dan", self.sell(&Wish::of("dan", &[("TEE", 1)])).await),
            ("eve", self.park(&Wish { points: 100, ..Wish::of("eve", &[("TEE", 1)]) }).await),
            ("fay", self.cancel_first(&Wish::of("fay", &[("MUG", 1)])).await),
            ("gus", self.let_lapse("gus").await),
        ];
        self.hand_over(ids[0].1).await;
        let refund = Refunding { payment_id: ids[3].1, amount: euros(300), reason: "scratched".to_owned() };
        self.ask_till(till::Command::Refund(till::command::Once::new(RequestId::random(), refund))).await.unwrap();
        ids
    }

    async fn stock_up(&self) {
        for (sku, cents, on_hand) in [("TEE", 1_500, 10), ("MUG", 700, 5)] {
            let title = format!("A {sku}");
            let item = CreateItem { sku: sku.parse().unwrap(), title, unit_price: euros(cents), on_hand };
            self.ask_stock(stock::Command::CreateItem(once(item))).await.unwrap();
        }
        let more = AdjustStock { sku: "MUG".parse().unwrap(), delta: 3, reason: "found".to_owned() };
        self.ask_stock(stock::Command::AdjustStock(once(more))).await.unwrap();
        for (name, points) in [("ada", 1_000), ("eve", 100)] {
            let grant = GrantPoints { buyer: buyer(name), points, reason: "welcome".to_owned() };
            let grant = till::Command::GrantPoints(till::command::Once::new(RequestId::random(), grant));
            self.till.submit(grant).await.unwrap().unwrap();
        }
        let ten = IssueCoupon {
            buyer: buyer("ada"),
            code: "TEN".parse().unwrap(),
            discount: euros(1_000),
            minimum: 0,
            expires_at: None,
        };
        let ten = till::Command::IssueCoupon(till::command::Once::new(RequestId::random(), ten));
        self.till.submit(ten).await.unwrap().unwrap();
        for (name, sku) in [("north", "TEE"), ("south", "MUG")] {
            let warehouse = CreateWarehouse {
                warehouse_id: name.parse().unwrap(),
                regions: ["*".parse().unwrap()].into(),
                priority: 0,
                capacity_per_day: 0,
                assortment: [sku.parse().unwrap()].into(),
                promised_days: 2,
                active: true,
            };
            let create = parcels::Command::CreateWarehouse(parcels::Once::new(RequestId::random(), warehouse));
            self.ask_parcels(create).await;
        }
    }

    /// An order that goes well.
    async fn sell(&self, wish: &Wish) -> OrderId {
        let id = self.start(wish).await;
        let price = self.reserve(id, wish).await.unwrap();
        self.create(id, wish, &price).await;
        self.authorize(id, wish, &price).await.unwrap();
        self.plan(id, wish).await;
        self.ask_till(till::Command::Capture(id)).await.unwrap();
        let confirm = Confirm { order_id: id, lines: None };
        self.ask_stock(stock::Command::Confirm(confirm)).await.unwrap();
        self.advance(id, wish, Move::Pay).await;
        self.ask_parcels(parcels::Command::Dispatch(id)).await;
        self.finish(id, End::Completed, None, Some(&price)).await;
        id
    }

    /// An order whose payment is declined.
    async fn turn_back(&self, wish: &Wish) -> OrderId {
        let id = self.start(wish).await;
        let price = self.reserve(id, wish).await.unwrap();
        self.create(id, wish, &price).await;
        let fault = self.authorize(id, wish, &price).await.unwrap_err();
        self.plan(id, wish).await;
        self.compensate(id, wish, fault, Some(&price)).await;
        id
    }

    /// An order that was cancelled before anybody but the saga had heard of it.
    async fn cancel_first(&self, wish: &Wish) -> OrderId {
        let id = self.start(wish).await;
        self.compensate(id, wish, Fault::new(Reason::Cancelled, "changed their mind"), None).await;
        id
    }

    async fn compensate(&self, id: OrderId, wish: &Wish, cause: Fault, price: Option<&PriceSnapshot>) {
        let void = Void { payment_id: id, reason: cause.message.clone(), only_if_unpaid: false };
        self.ask_till(till::Command::Void(void)).await.unwrap();
        self.record(id, Record::Compensating { cause }).await;
        let cancel = CancelShipments { order_id: id, reason: "turned back".to_owned() };
        self.ask_parcels(parcels::Command::Cancel(cancel)).await;
        self.advance(id, wish, Move::Cancel).await;
        self.ask_stock(stock::Command::Release(id)).await.unwrap();
        self.finish(id, End::Compensated, None, price).await;
    }

    /// An order for more than there is.
    async fn refuse(&self, wish: &Wish) -> OrderId {
        let id = self.start(wish).await;
        let fault = self.reserve(id, wish).await.unwrap_err();
        self.finish(id, End::Refused, Some(fault), None).await;
        id
    }

    /// An order that cannot go on for now: stock, points and money are held.
    async fn park(&self, wish: &Wish) -> OrderId {
        let id = self.start(wish).await;
        let price = self.reserve(id, wish).await.unwrap();
        self.create(id, wish, &price).await;
        self.authorize(id, wish, &price).await.unwrap();
        self.plan(id, wish).await;
        let reason = Fault::internal().with("step", "capture_payment");
        self.record(id, Record::Parked { reason, wakeup: SystemClock.now(), turning: None }).await;
        id
    }

    /// A promise to somebody who called Reserve directly, and forgot it.
    async fn let_lapse(&self, name: &'static str) -> OrderId {
        let id = OrderId::mint(self.clock.now(), &buyer(name), Partition(1));
        let hold = Hold::For(Duration::from_millis(1));
        self.ask_stock(reserve(id, &Wish::of(name, &[("MUG", 2)]), hold)).await.unwrap();
        self.clock.advance(Duration::from_millis(2));
        // A server's clock goes on by itself.
        while !matches!(self.ask_stock(stock::Command::Expire).await, Ok(stock::Answer::Expired(1))) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        id
    }

    /// A carrier takes an order's parcels over, one after the other.
    async fn hand_over(&self, id: OrderId) {
        for index in 0..2 {
            let report = RecordCarrierEvent {
                shipment_id: ShipmentId::of_order(id, index),
                event: CarrierEvent::PickedUp,
                occurred_at: None,
                tracking: None,
            };
            let report = parcels::Once::new(RequestId::random(), report);
            self.ask_parcels(parcels::Command::Record(report)).await;
        }
    }

    /// Tells orders what fulfilment has told.
    pub(super) async fn follow(&self, news: Vec<orders::News>) {
        self.orders.submit(orders::Command::Follow(news)).await.unwrap().unwrap();
    }

    async fn start(&self, wish: &Wish) -> OrderId {
        let now = self.clock.now();
        let id = OrderId::mint(now, &buyer(wish.buyer), Partition(1));
        let order = wish.order();
        let row = SagaRow {
            id: SagaId(id.uuid()),
            key: order.key(),
            fingerprint: order.fingerprint().as_str().as_bytes().to_vec(),
            definition: "place_order".to_owned(),
            version: 1,
            input: serde_json::to_string(&order).unwrap(),
            status: Status::Running,
            direction: Direction::Forward,
            cause: None,
            parked: None,
            journal: None,
            epoch: 1,
            attempts: Vec::new(),
            drives: 0,
            created: now,
            updated: now,
            wakeup: None,
        };
        self.log.start(row).await.unwrap();
        id
    }

    async fn record(&self, id: OrderId, record: Record) {
        self.log.record(SagaId(id.uuid()), 1, record, self.clock.now()).await.unwrap();
    }

    async fn finish(&self, id: OrderId, end: End, cause: Option<Fault>, price: Option<&PriceSnapshot>) {
        let step = |(index, (name, kind)): (usize, &(&str, Kind))| JournalStep {
            name: (*name).to_owned(),
            kind: *kind,
            state: match end {
                End::Completed => StepState::Done,
                End::Compensated if *kind == Kind::Compensatable => StepState::Undone,
                End::Refused if index == 0 => StepState::Refused,
                End::Compensated | End::Refused => StepState::Idle,
            },
            attempts: 1,
            last_error: None,
            started: None,
            ended: None,
            output: price.filter(|_| index == 0).map(|price| serde_json::to_value(price).unwrap()),
        };
        let journal = Journal { steps: STEPS.iter().enumerate().map(step).collect() };
        self.record(id, Record::Finished { end, cause, journal }).await;
    }

    async fn reserve(&self, id: OrderId, wish: &Wish) -> Result<PriceSnapshot, Fault> {
        let stock::Answer::Reservation(promise) = self.ask_stock(reserve(id, wish, Hold::Pinned)).await? else {
            panic!("a reservation was asked for");
        };
        let lines = promise.lines.into_iter().map(|line| PricedLine {
            sku: line.sku,
            title: line.title,
            quantity: line.quantity,
            unit_price: line.unit_price,
        });
        Ok(PriceSnapshot::of(lines.collect()).unwrap().unwrap())
    }

    async fn create(&self, id: OrderId, wish: &Wish, price: &PriceSnapshot) {
        let lines = price.lines.iter().map(|line| orders::PricedLine {
            sku: line.sku.clone(),
            title: line.title.clone(),
            quantity: line.quantity,
            unit_price: line.unit_price,
            line_total: line.total().unwrap(),
        });
        let price = orders::Price {
            lines: lines.collect(),
            goods_total: price.goods_total,
            shipping: price.shipping,
            discount: euros(0),
            total: price.amount().unwrap(),
        };
        let Address { recipient, region, lines, postal_code, city } = wish.order().address;
        let address = orders::Address { recipient, region, lines, postal_code, city };
        let ids = (id, RequestId::random());
        let create = orders::command::Create::new(ids, TenantId::default(), buyer(wish.buyer), price, address);
        self.orders.submit(orders::Command::Create(create)).await.unwrap().unwrap();
    }

    async fn advance(&self, id: OrderId, wish: &Wish, step: Move) {
        let advance = orders::Advance {
            order_id: id,
            tenant_id: TenantId::default(),
            buyer_id: Some(buyer(wish.buyer)),
            step,
            expected_version: None,
            reason: String::new(),
            role: Role::Saga,
            request_id: RequestId::random(),
        };
        self.orders.submit(orders::Command::Advance(advance)).await.unwrap().unwrap();
    }

    async fn authorize(&self, id: OrderId, wish: &Wish, price: &PriceSnapshot) -> Result<till::Payment, Fault> {
        let body = Authorize {
            payment_id: id,
            buyer: buyer(wish.buyer),
            amount: price.amount().unwrap(),
            coupon: wish.coupon.map(|code| code.parse().unwrap()),
            points: wish.points,
            instrument: wish.instrument.to_owned(),
            expected_total: None,
            instrument_problem: None,
        };
        self.ask_till(till::Command::authorize(body)).await
    }

    async fn plan(&self, id: OrderId, wish: &Wish) {
        let lines = wish.lines.iter().map(|(sku, quantity)| (sku.parse().unwrap(), *quantity)).collect();
        let plan = PlanShipments::new(id, "DE".parse().unwrap(), lines);
        self.ask_parcels(parcels::Command::Plan(plan)).await;
    }

    async fn ask_stock(&self, command: stock::Command) -> Result<stock::Answer, Fault> {
        self.stock.submit(command).await.unwrap()
    }

    async fn ask_till(&self, command: till::Command) -> Result<till::Payment, Fault> {
        self.settler.carry_out(command).await
    }

    async fn ask_parcels(&self, command: parcels::Command) {
        self.parcels.submit(command).await.unwrap().unwrap();
    }
}

fn once<T: serde::Serialize>(body: T) -> stock::command::Once<T> {
    stock::command::Once { request_id: RequestId::random(), fingerprint: Fingerprint::of(&body), body }
}

fn reserve(id: OrderId, wish: &Wish, hold: Hold) -> stock::Command {
    let lines: Vec<_> = wish.lines.iter().map(|(sku, quantity)| (sku.parse().unwrap(), *quantity)).collect();
    stock::Command::Reserve(Reserve {
        order_id: id,
        buyer_id: buyer(wish.buyer),
        fingerprint: Fingerprint::of(&lines),
        lines,
        hold,
    })
}
