//! Buyers who storm one item, each sticking to its key until it has a definite answer, and a carrier who brings some of
//! them what they paid for. All keep a journal outside of the platform, by which the platform is judged.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use spillway_contracts::{
    fulfilment::v1::{CarrierEventKind, ListShipmentsRequest, RecordCarrierEventRequest, Shipment, ShipmentState},
    inventory::v1::{AdjustStockRequest, GetItemRequest},
    orchestrator::v1::{CancelOrderRequest, OrderOutcome, PlaceOrderRequest},
    order::v1::{GetOrderRequest, OrderState},
};
use spillway_middleware::status::to_fault;
use spillway_types::{Class, Fault, Reason, RequestId};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::shop::{Shop, order, until};

/// What they want.
pub const HOT: &str = "HOT";
/// Cents.
const PRICE: i64 = 12_900;
/// One buyer in so many has a card that is declined.
const DECLINED_EACH: u32 = 20;
/// One buyer in so many gets the parcel at once; the parcels of the others stay in the warehouse.
const DELIVERED_EACH: u32 = 4;
/// One buyer in so many has second thoughts, too late.
const REPENTS_EACH: u32 = 5;
/// Pause of a buyer who has no definite answer yet.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How many answers are compared at a time.
const CHECKS_AT_ONCE: usize = 16;
/// How long news of a shipment may take to its order once all faults are over.
const NEWS_MAX: Duration = Duration::from_secs(30);
/// How long a crowd may go without the answers that a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many buyers there are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// At a time.
    pub places: usize,
    /// How long a place stays empty before the next one comes.
    pub rest: Duration,
    /// Units that come on the shelf when it is down to half as many.
    pub lot: i64,
}

/// Buyers in the shop, one after the other at each place.
#[derive(Debug)]
pub struct Crowd {
    shop: Shop,
    pace: Pace,
    journal: Arc<Journal>,
    places: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Journal {
    heard: Mutex<BTreeMap<String, (PlaceOrderRequest, Heard)>>,
    /// Calls that gave no definite answer, by why.
    failed: Mutex<HashMap<Reason, usize>>,
    answers: AtomicUsize,
    paid: AtomicUsize,
    buyers: AtomicU32,
    /// Who is in the shop.
    inside: Mutex<BTreeSet<u32>>,
    /// Units that were ever put on the shelf.
    stock: AtomicI64,
    /// Nothing more will be.
    is_last_call: AtomicBool,
}

#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Paid(String),
    Delivered(String),
    Refused(Reason),
}

/// What the crowd heard, all of which was found to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Orders paid.
    pub paid: usize,
    /// Those of them that the carrier has delivered.
    pub delivered: usize,
    /// Orders refused, by why.
    pub refused: HashMap<Reason, usize>,
    /// Calls that a buyer had to repeat beyond what its client repeats by itself, by why.
    pub failed: HashMap<Reason, usize>,
}

// === impl Journal ===

impl Journal {
    /// The fault, when asking again would not change it; it is counted otherwise.
    fn definite(&self, status: &Status) -> Option<Fault> {
        let fault = to_fault(status);
        if fault.reason.class() == Class::Terminal {
            return Some(fault);
        }
        *self.failed.lock().unwrap().entry(fault.reason).or_default() += 1;
        None
    }
}

// === impl Crowd ===

impl Crowd {
    /// Puts a first lot on an empty shelf and lets buyers in.
    pub async fn open(shop: &Shop, pace: Pace) -> Self {
        shop.clone().stock(HOT, PRICE, pace.lot).await;
        let journal = Arc::new(Journal { stock: pace.lot.into(), ..Journal::default() });
        let places = (0..pace.places).map(|_| tokio::spawn(visit(shop.clone(), Arc::clone(&journal), pace.rest)));
        Self { shop: shop.clone(), pace, places: places.collect(), journal }
    }

    /// Puts more on the shelf when there is little left, so that the sale goes on; whoever came meanwhile was refused.
    pub async fn restock(&self) {
        let available = until("the shelf is looked at", PATIENCE, async || {
            let find = GetItemRequest { sku: HOT.to_owned() };
            Some(self.shop.inventory.clone().get_item(find).await.ok()?.into_inner().item?.available)
        })
        .await;
        if available >= self.pace.lot / 2 {
            return;
        }
        let (request_id, sku, delta) = (RequestId::random().to_string(), HOT.to_owned(), self.pace.lot);
        let more = AdjustStockRequest { request_id, sku, delta, reason: "more came".to_owned() };
        until("more is on the shelf", PATIENCE, async || {
            self.shop.inventory.clone().adjust_stock(more.clone()).await.ok().map(drop)
        })
        .await;
        self.journal.stock.fetch_add(delta, Ordering::Relaxed);
    }

    /// Units that were ever put on the shelf.
    pub fn stock(&self) -> i64 {
        self.journal.stock.load(Ordering::Relaxed)
    }

    /// Nothing more comes on the shelf: buyers leave once it is empty.
    pub fn last_call(&self) {
        self.journal.is_last_call.store(true, Ordering::Relaxed);
    }

    /// How many buyers have a definite answer.
    pub fn answers(&self) -> usize {
        self.journal.answers.load(Ordering::Relaxed)
    }

    /// How many buyers have paid.
    pub fn paid(&self) -> usize {
        self.journal.paid.load(Ordering::Relaxed)
    }

    /// Waits until so many more buyers have a definite answer, or all have gone.
    pub async fn more(&self, answers: usize) {
        let enough = self.answers() + answers;
        until("the sale goes on", PATIENCE, || {
            let gone = self.places.iter().all(JoinHandle::is_finished);
            std::future::ready((self.answers() >= enough || gone).then_some(()))
        })
        .await;
    }

    /// Waits until everybody who is in the shop at this moment has a definite answer.
    pub async fn turn_over(&self) {
        let inside = self.journal.inside.lock().unwrap().clone();
        until("everybody hears", PATIENCE, async || {
            self.journal.inside.lock().unwrap().is_disjoint(&inside).then_some(())
        })
        .await;
    }

    /// Calls without a definite answer so far.
    pub fn failures(&self) -> usize {
        self.journal.failed.lock().unwrap().values().sum()
    }

    /// Waits until nothing is left, and everybody has a definite answer.
    pub async fn sold_out(&mut self) {
        self.last_call();
        for place in self.places.drain(..) {
            place.await.unwrap();
        }
    }

    /// What the platform acknowledged is still so, and what it told others of has arrived there: orders have followed their
    /// shipments.
    pub async fn check(&self) -> Tally {
        let heard = self.journal.heard.lock().unwrap().clone();
        let failed = self.journal.failed.lock().unwrap().clone();
        let checks = heard.values().map(|(request, heard)| still(&self.shop, request, heard));
        stream::iter(checks).buffer_unordered(CHECKS_AT_ONCE).for_each(|()| std::future::ready(())).await;
        let mut tally = Tally { paid: 0, delivered: 0, refused: HashMap::new(), failed };
        for (_, heard) in heard.values() {
            match heard {
                Heard::Paid(_) => tally.paid += 1,
                Heard::Delivered(_) => {
                    tally.paid += 1;
                    tally.delivered += 1;
                }
                Heard::Refused(reason) => *tally.refused.entry(*reason).or_default() += 1,
            }
        }
        tally
    }
}

/// What a buyer heard is still so.
async fn still(shop: &Shop, request: &PlaceOrderRequest, heard: &Heard) {
    match heard {
        Heard::Paid(order_id) => becomes(shop, order_id, OrderState::Fulfilling).await,
        Heard::Delivered(order_id) => becomes(shop, order_id, OrderState::Delivered).await,
        Heard::Refused(reason) => {
            let again = to_fault(&shop.checkout.clone().place_order(request.clone()).await.unwrap_err());
            assert_eq!(again.reason, *reason, "the refusal of {} is repeated", request.request_id);
        }
    }
}

/// Waits until the order is where its shipments have brought it; the news of them travels.
async fn becomes(shop: &Shop, order_id: &str, expected: OrderState) {
    let mut seen = OrderState::Unspecified;
    let arrival = async {
        while seen != expected {
            let find = GetOrderRequest { order_id: order_id.to_owned() };
            seen = shop.orders.clone().get_order(find).await.unwrap().into_inner().order.unwrap().state();
            let on_its_way = matches!(seen, OrderState::Paid | OrderState::Fulfilling | OrderState::Shipped);
            assert!(on_its_way || seen == expected, "{order_id} is {seen:?} and not {expected:?}");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    let arrived = tokio::time::timeout(NEWS_MAX, arrival).await;
    assert!(arrived.is_ok(), "{order_id} is still {seen:?} and not {expected:?} after {NEWS_MAX:?}");
}

async fn visit(mut shop: Shop, journal: Arc<Journal>, rest: Duration) {
    loop {
        let buyer = journal.buyers.fetch_add(1, Ordering::Relaxed);
        let card = if buyer % DECLINED_EACH == 3 { "sandbox:declined" } else { "sandbox:approved" };
        let request = order(&format!("buyer-{buyer}"), HOT, 1, card);
        journal.inside.lock().unwrap().insert(buyer);
        let (request, heard) = place(&mut shop, &journal, request).await;
        let heard = match heard {
            Heard::Paid(order_id) => {
                journal.paid.fetch_add(1, Ordering::Relaxed);
                if buyer.is_multiple_of(REPENTS_EACH) {
                    repent(&shop, &journal, &order_id).await;
                }
                if buyer.is_multiple_of(DELIVERED_EACH) {
                    deliver(&shop, &journal, &order_id).await;
                    Heard::Delivered(order_id)
                } else {
                    Heard::Paid(order_id)
                }
            }
            heard => heard,
        };
        let sold_out = heard == Heard::Refused(Reason::OutOfStock);
        journal.heard.lock().unwrap().insert(request.request_id.clone(), (request, heard));
        journal.inside.lock().unwrap().remove(&buyer);
        journal.answers.fetch_add(1, Ordering::Relaxed);
        if sold_out && journal.is_last_call.load(Ordering::Relaxed) && nothing_left(&mut shop, &journal).await {
            return;
        }
        tokio::time::sleep(rest).await;
    }
}

/// Asks with one key until the answer is definite.
async fn place(shop: &mut Shop, journal: &Journal, mut request: PlaceOrderRequest) -> (PlaceOrderRequest, Heard) {
    loop {
        match shop.checkout.place_order(request.clone()).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                if answer.outcome() == OrderOutcome::Paid {
                    return (request, Heard::Paid(answer.order_id));
                }
            }
            Err(status) => {
                if let Some(fault) = journal.definite(&status) {
                    return (request, Heard::Refused(fault.reason));
                }
            }
        }
        request.retry = true;
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Wants the money back for an order that is paid for: it is too late for that.
async fn repent(shop: &Shop, journal: &Journal, order_id: &str) {
    let request = CancelOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: order_id.to_owned(),
        ..CancelOrderRequest::default()
    };
    let refused = until("the cancellation is decided", PATIENCE, async || {
        match shop.checkout.clone().cancel_order(request.clone()).await {
            Ok(_) => panic!("{order_id} was paid for, and is cancelled"),
            Err(status) => journal.definite(&status),
        }
    });
    let refused = refused.await;
    assert_eq!(refused.reason, Reason::NotCancellable, "{order_id}: {refused}");
}

/// Brings the parcels of an order to its buyer, as soon as they have left the warehouse.
async fn deliver(shop: &Shop, journal: &Journal, order_id: &str) {
    let parcels = until("the parcels have left", PATIENCE, async || {
        let find = ListShipmentsRequest { order_id: order_id.to_owned(), ..ListShipmentsRequest::default() };
        let parcels = match shop.fulfilment.clone().list_shipments(find).await {
            Ok(found) => found.into_inner().shipments,
            Err(status) => panic_if_some(order_id, journal.definite(&status))?,
        };
        let have_left = |parcel: &Shipment| parcel.state() == ShipmentState::Dispatched;
        (!parcels.is_empty() && parcels.iter().all(have_left)).then_some(parcels)
    })
    .await;
    for parcel in parcels {
        for kind in [CarrierEventKind::PickedUp, CarrierEventKind::Delivered] {
            let event = RecordCarrierEventRequest {
                request_id: RequestId::random().to_string(),
                shipment_id: parcel.shipment_id.clone(),
                kind: kind.into(),
                ..RecordCarrierEventRequest::default()
            };
            until("the carrier is heard", PATIENCE, async || {
                match shop.fulfilment.clone().record_carrier_event(event.clone()).await {
                    Ok(_) => Some(()),
                    Err(status) => panic_if_some(order_id, journal.definite(&status)),
                }
            })
            .await;
        }
    }
}

/// For calls that nothing but a fault can keep from success.
fn panic_if_some<T>(order_id: &str, refused: Option<Fault>) -> Option<T> {
    refused.map(|fault| panic!("shipping {order_id}: {fault}"))
}

/// Whether every unit is sold for good: one that is only held may come back, and wants a buyer then.
async fn nothing_left(shop: &mut Shop, journal: &Journal) -> bool {
    let stock = journal.stock.load(Ordering::Relaxed);
    match shop.inventory.get_item(GetItemRequest { sku: HOT.to_owned() }).await {
        Ok(found) => found.into_inner().item.is_some_and(|item| item.sold_unshipped == stock),
        Err(_) => false,
    }
}
