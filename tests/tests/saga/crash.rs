//! The platform stops dead at every call of every order, before the call and after it, and again at every call of the next
//! life. In the third life every order ends, the same way as if nothing had happened. What was cancelled stays so.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use spillway::platform::Platform;
use spillway_contracts::orchestrator::v1::PlaceOrderRequest;
use spillway_saga::Kind;
use spillway_tests::{
    faults::{Call, Mishap, On, Script, VOID, When},
    shop::{Shop, settings, until},
};
use spillway_types::Reason;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{
    buyer::{Answer, LIMIT, cancel, end_of, follow, judge, request, shelf},
    steps::{self, CAPTURE_DECLINED, pay_with},
};

/// Buyers at a time.
const AT_ONCE: usize = 48;
/// How long a buyer stays on the line when the order is known to stop half-way: until it is placed is enough.
const A_MOMENT: Duration = Duration::from_millis(600);
const SKU: &str = "TEE";
const STOCK: i64 = 10_000;

/// Nothing is given up: what stops, stops until the crash.
const SETTINGS: [(&str, &str); 4] = [
    ("orchestrator.step.attempt_timeout_ms", "30000"),
    ("orchestrator.step.patience_ms", "600000"),
    ("orchestrator.saga.scan_interval_ms", "100"),
    ("orchestrator.saga.parked_retry_ms", "1000"),
];

/// The platform on threads of its own, so that it can be stopped as by a crash: whatever runs ends at its next await.
struct Host {
    runtime: Option<Runtime>,
    shop: Shop,
    platform: Option<Platform>,
}

/// One order, and the calls at which its first two lives end.
struct Doomed {
    request: PlaceOrderRequest,
    ends: [(usize, When); 2],
    /// How it must end; `None` is paid.
    expected: Option<Reason>,
}

// === impl Host ===

impl Host {
    async fn start(data: &Path, script: &Arc<Script>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let settings = settings(data, &SETTINGS);
        let client = settings.client.clone();
        let (threads, around) = (runtime.handle().clone(), script.around());
        let start = move || threads.block_on(Platform::start_with(settings, around));
        let platform = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        let shop = Shop::at(platform.addresses(), &client);
        Self { runtime: Some(runtime), shop, platform: Some(platform) }
    }

    /// Ends without a word to anybody.
    async fn crash(mut self) {
        let (runtime, platform) = (self.runtime.take().unwrap(), self.platform.take());
        let crash = move || {
            runtime.shutdown_timeout(Duration::from_secs(10));
            drop(platform);
        };
        tokio::task::spawn_blocking(crash).await.unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A runtime must not wait for its threads inside another one, as it would here when a test fails.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Doomed ===

impl Doomed {
    fn buyer(&self) -> &str {
        &self.request.buyer_id
    }

    fn dies(&self, life: usize, script: &Script) {
        let (nth, when) = self.ends[life];
        script.plan(self.buyer(), On::Nth(nth), Mishap::Held(when));
    }

    /// Places it, and does not wait for what cannot come.
    async fn place(&self, shop: &Shop, script: &Script) {
        let (shop, script) = (shop.clone(), script);
        until(&format!("{} is placed", self.buyer()), LIMIT, || {
            let mut checkout = shop.checkout.clone();
            let mut request = tonic::Request::new(self.request.clone());
            request.set_timeout(A_MOMENT);
            async move {
                // Whatever it says: that the order has come to where it stops is seen on the way to its participants.
                let _ = checkout.place_order(request).await;
                script.is_held(self.buyer()).then_some(())
            }
        })
        .await;
    }

    /// Waits until its life has come to its end, or the order to its own.
    async fn is_over(&self, shop: &Shop, script: &Script) {
        let order_id = script.order_id(self.buyer()).unwrap();
        until(&format!("{} {:?} has come to its end", self.buyer(), self.ends), LIMIT, || async {
            (script.is_held(self.buyer()) || end_of(shop, &order_id).await.is_some()).then_some(())
        })
        .await;
    }

    /// What is wrong with how it ended.
    async fn ends_well(&self, shop: &Shop, script: &Script) -> Vec<String> {
        let mut again = self.request.clone();
        again.retry = true;
        let ended = match follow(shop, again).await {
            Ok(ended) => ended,
            Err(complaint) => return vec![complaint],
        };
        let mut complaints = ended.complaints;
        if ended.answer.reason() != self.expected {
            complaints.push(format!("{:?}, not {:?}", ended.answer, self.expected));
        }
        let order_id = match ended.answer {
            Answer::Paid(order_id) => Some(order_id),
            Answer::Refused(fault) => fault.metadata.get("order_id").cloned(),
        };
        if order_id != script.order_id(self.buyer()) {
            complaints.push(format!("another order has its key: {order_id:?}"));
        }
        complaints
    }
}

/// Every pair of calls, each before it is sent and after it is answered.
async fn doomed(shop: &Shop, script: &Script) -> Vec<Doomed> {
    let mut all = Vec::new();
    for (instrument, expected) in [("sandbox:approved", None), (CAPTURE_DECLINED, Some(Reason::PaymentDeclined))] {
        let order = |buyer: &str| {
            let mut order = request(buyer, SKU);
            pay_with(&mut order, instrument);
            order
        };
        let ended = follow(shop, order(instrument)).await.unwrap();
        assert_eq!(ended.answer.reason(), expected);
        let calls = script.begun(instrument).len();
        assert!(calls >= 8, "{:?}", script.begun(instrument));
        for (first, second) in (1..=calls).flat_map(|first| (1..=calls).map(move |second| (first, second))) {
            for when in [When::Before, When::After] {
                let buyer = format!("buyer-{}", all.len());
                all.push(Doomed { request: order(&buyer), ends: [(first, when), (second, when)], expected });
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_survives_a_crash_at_every_call_and_another_one_at_every_call_after_it() {
    let data = tempfile::tempdir().unwrap();
    let script = Script::new();
    let mut host = Host::start(data.path(), &script).await;
    host.shop.stock(SKU, 1_999, STOCK).await;
    let orders = doomed(&host.shop, &script).await;
    println!("{} orders", orders.len());

    orders.iter().for_each(|order| order.dies(0, &script));
    stream::iter(&orders).for_each_concurrent(AT_ONCE, |order| order.place(&host.shop, &script)).await;
    host.crash().await;

    script.next_life();
    orders.iter().for_each(|order| order.dies(1, &script));
    let host = Host::start(data.path(), &script).await;
    stream::iter(&orders).for_each_concurrent(AT_ONCE, |order| order.is_over(&host.shop, &script)).await;
    host.crash().await;

    script.next_life();
    let host = Host::start(data.path(), &script).await;
    let (shop, script) = (&host.shop, &script);
    let ends = |order| async move {
        let order: &Doomed = order;
        let complaints = order.ends_well(shop, script).await;
        let name = |complaint| format!("{} {:?}: {complaint}", order.buyer(), order.ends);
        complaints.into_iter().map(name).collect::<Vec<_>>()
    };
    let mut complaints: Vec<_> = stream::iter(&orders).map(ends).buffer_unordered(AT_ONCE).concat().await;
    // One more was paid to find out how many calls it takes.
    let sold = 1 + orders.iter().filter(|order| order.expected.is_none()).count();
    complaints.extend(shelf(shop, SKU, STOCK, sold).await);
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    judge(data.path()).await;
    host.crash().await;
}

/// Cancels an order that has come to its so-manieth call. The saga is held up again at once by the compensation `next`.
async fn cancel_at(nth: usize, next: Call, shop: &Shop, script: &Script) -> PlaceOrderRequest {
    let order = request(&format!("cancelled-at-{nth}-before-{next}").replace(['(', ')'], "-"), SKU);
    let buyer = order.buyer_id.as_str();
    script.plan(buyer, On::Nth(nth), Mishap::Held(When::Before));
    script.plan(buyer, On::Call(next), Mishap::Held(When::Before));
    let doomed = Doomed { request: order.clone(), ends: [(nth, When::Before); 2], expected: Some(Reason::Cancelled) };
    doomed.place(shop, script).await;
    let order_id = script.order_id(buyer).unwrap();
    assert_eq!(timeout(LIMIT, cancel(shop, &order_id)).await.unwrap(), Ok(()), "{buyer}");
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_cancelled_stays_so_after_a_crash_in_the_middle_of_its_compensations() {
    let data = tempfile::tempdir().unwrap();
    let script = Script::new();
    let mut host = Host::start(data.path(), &script).await;
    host.shop.stock(SKU, 1_999, STOCK).await;
    let steps = steps::all();
    let pivot = 1 + steps.iter().position(|step| step.info.kind == Kind::Pivot).unwrap();
    let compensations: Vec<_> = steps.iter().filter_map(|step| step.calls.compensation).collect();
    let points = (1..=pivot).flat_map(|nth| compensations.iter().map(move |next| (nth, *next)));
    // The arbiter has spoken when a cancellation is answered: it is not among what may still be to do.
    let points = points.filter(|(_, next)| *next != VOID);
    let (shop, in_life) = (&host.shop, &script);
    let orders: Vec<_> = stream::iter(points)
        .map(|(nth, next)| cancel_at(nth, next, shop, in_life))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{} orders", orders.len());
    host.crash().await;

    script.next_life();
    let host = Host::start(data.path(), &script).await;
    for order in orders {
        let buyer = order.buyer_id.clone();
        let ended = follow(&host.shop, order).await.unwrap();
        assert_eq!((ended.answer.reason(), ended.complaints), (Some(Reason::Cancelled), vec![]), "{buyer}");
    }
    assert_eq!(shelf(&host.shop, SKU, STOCK, 0).await, None);
    judge(data.path()).await;
    host.crash().await;
}
