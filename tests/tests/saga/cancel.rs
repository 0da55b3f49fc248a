//! A buyer cancels at the very moment of each call: before it arrives, after it was done, or in a race with it. Void and
//! Capture meet in one row, so the order is either cancelled and holds nothing, or paid and not cancellable.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use spillway_contracts::orchestrator::v1::PlaceOrderRequest;
use spillway_tests::{
    faults::{Mishap, On, Script, Span, VOID, When},
    shop::{Shop, open, until},
};
use spillway_types::{Fault, Reason};
use tokio::time::timeout;

use crate::{
    buyer::{LIMIT, cancel, follow, judge, request, shelf},
    mishaps::PASSING,
    steps::{CAPTURE_DECLINED, pay_with},
};

const AT_ONCE: usize = 16;
const STOCK: i64 = 1;
/// How long a call is held for the cancellation's sake: a cancellation that waits for this very call goes on then.
const HOLD: Duration = Duration::from_millis(300);
/// More attempts than are made before a saga is parked.
const LONG: Span = Span::Times(10);

const SETTINGS: [(&str, &str); 4] = [
    ("orchestrator.step.attempt_timeout_ms", "1000"),
    ("orchestrator.step.backoff_ms", "5"),
    ("orchestrator.saga.scan_interval_ms", "100"),
    ("orchestrator.saga.parked_retry_ms", "1000"),
];

type Cancelled = Result<(), Fault>;

/// An order that is cancelled when it comes to its so-manieth call.
struct Case {
    request: PlaceOrderRequest,
    nth: usize,
    when: When,
    /// What goes wrong with Void meanwhile.
    void: Option<Mishap>,
    /// Whether it is to be cancelled; `None` when either may win.
    is_cancelled: Option<bool>,
}

// === impl Case ===

impl Case {
    /// What is wrong with how it ended.
    async fn run(&self, shop: &Shop, script: &Script) -> Result<(), String> {
        let (buyer, sku) = (self.request.buyer_id.as_str(), self.request.lines[0].sku.as_str());
        shop.clone().stock(sku, 1_999, STOCK).await;
        script.plan(buyer, On::Nth(self.nth), Mishap::Held(self.when));
        if let Some(mishap) = self.void {
            script.plan(buyer, On::Call(VOID), mishap);
        }
        let (ended, cancelled) = tokio::join!(follow(shop, self.request.clone()), self.cancel(shop, script));
        let (ended, (one, other)) = (ended?, cancelled?);
        if !ended.complaints.is_empty() {
            return Err(ended.complaints.join("; "));
        }
        if one.is_ok() != other.is_ok() {
            return Err(format!("two cancellations differ: {one:?}, {other:?}"));
        }
        if self.is_cancelled.is_some_and(|expected| expected != one.is_ok()) {
            return Err(format!("{one:?}, though the call had {:?}", self.is_cancelled));
        }
        let fits = match &one {
            Ok(()) => matches!(ended.answer.reason(), Some(Reason::Cancelled | Reason::PaymentDeclined)),
            Err(fault) => fault.reason == Reason::NotCancellable && ended.answer.is_paid(),
        };
        if !fits {
            return Err(format!("cancelling says {one:?}, placing says {:?}", ended.answer));
        }
        let order_id = script.order_id(buyer).unwrap_or_default();
        let again = timeout(LIMIT, cancel(shop, &order_id)).await.map_err(|_| "not cancelled again".to_owned())?;
        if again.is_ok() != one.is_ok() {
            return Err(format!("cancelling says {one:?}, then {again:?}"));
        }
        let wrong = shelf(shop, sku, STOCK, usize::from(ended.answer.is_paid())).await;
        wrong.into_iter().chain(script.complaints(buyer)).next().map_or(Ok(()), Err)
    }

    /// Two callers cancel when the call has come; the call goes on when they have their answers or need it for that.
    async fn cancel(&self, shop: &Shop, script: &Script) -> Result<(Cancelled, Cancelled), String> {
        let buyer = self.request.buyer_id.as_str();
        until(&format!("call {} of {buyer}", self.nth), LIMIT, || async { script.is_held(buyer).then_some(()) }).await;
        let order_id = script.order_id(buyer).ok_or("no call has named the order")?;
        let cancelling = async { tokio::join!(cancel(shop, &order_id), cancel(shop, &order_id)) };
        tokio::pin!(cancelling);
        let early = timeout(HOLD, &mut cancelling).await;
        script.release(buyer);
        match early {
            Ok(cancelled) => Ok(cancelled),
            Err(_) => timeout(LIMIT, cancelling).await.map_err(|_| "cancelling is not answered".to_owned()),
        }
    }
}

/// Every call of an order, three times, and then the pivot with an arbiter in trouble.
async fn cases(shop: &Shop, script: &Script) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for instrument in ["sandbox:approved", CAPTURE_DECLINED] {
        shop.clone().stock(instrument, 1_999, STOCK).await;
        let order = |buyer: &str, sku: &str| {
            let mut order = request(buyer, sku);
            pay_with(&mut order, instrument);
            order
        };
        let ended = follow(shop, order(instrument, instrument)).await.unwrap();
        let calls = script.begun(instrument);
        let pivot = 1 + calls.iter().position(|call| *call == "Capture").unwrap();
        for nth in 1..=calls.len() {
            for when in [When::Before, When::After, When::Never] {
                let is_cancelled = match when {
                    _ if !ended.answer.is_paid() => Some(true),
                    _ if nth > pivot => Some(false),
                    When::Before => Some(true),
                    When::After => Some(nth < pivot),
                    When::Never => None,
                };
                let (buyer, sku) = (format!("buyer-{}", all.len()), format!("ITEM-{}", all.len()));
                all.push(Case { request: order(&buyer, &sku), nth, when, void: None, is_cancelled });
            }
        }
        // The arbiter itself is in trouble: whoever cancels hears nothing definite until it has spoken.
        for mishap in PASSING.into_iter().chain([Mishap::Lost(LONG), Mishap::Unheard(LONG)]) {
            for (when, is_paid) in [(When::Before, false), (When::After, ended.answer.is_paid())] {
                let (buyer, sku) = (format!("buyer-{}", all.len()), format!("ITEM-{}", all.len()));
                let (request, is_cancelled) = (order(&buyer, &sku), Some(!is_paid));
                all.push(Case { request, nth: pivot, when, void: Some(mishap), is_cancelled });
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_at_any_call_an_order_is_cancelled_for_sure_or_paid_for_sure() {
    let data = tempfile::tempdir().unwrap();
    let script = Script::new();
    let (platform, shop) = open(data.path(), &SETTINGS, script.around()).await;
    let cases = cases(&shop, &script).await;
    println!("{} cases", cases.len());
    let run = |case: Case| {
        let (shop, script) = (shop.clone(), Arc::clone(&script));
        async move {
            let complaint = case.run(&shop, &script).await.err();
            let calls = script.begun(&case.request.buyer_id);
            complaint.map(|text| format!("{:?} call {} {:?}: {text}; {calls:?}", case.when, case.nth, case.void))
        }
    };
    let complaints: Vec<_> = stream::iter(cases).map(run).buffer_unordered(AT_ONCE).collect().await;
    let complaints: Vec<_> = complaints.into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    judge(data.path()).await;
    platform.stop().await.unwrap();
}
