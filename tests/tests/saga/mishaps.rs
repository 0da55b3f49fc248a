//! Each call of each step goes wrong in each way, one at a time, beside an order with which nothing is wrong.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use spillway_contracts::{
    fulfilment::v1::{CreateWarehouseRequest, Warehouse, warehouse_service_client::WarehouseServiceClient},
    orchestrator::v1::PlaceOrderRequest,
};
use spillway_middleware::Preset;
use spillway_saga::Kind;
use spillway_tests::{
    faults::{Call, Mishap, On, Script, Span, VOID},
    shop::{Shop, open, settings},
};
use spillway_types::{Reason, RequestId};
use tokio::time::{sleep, timeout};

use crate::{
    buyer::{LIMIT, follow, judge, request, shelf},
    steps::{self, CAPTURE_DECLINED, Step, pay_with},
};

/// Cases at a time: enough to be quick, few enough that a call hardly ever takes long for want of a processor.
const AT_ONCE: usize = 32;
/// Pieces of each case's own item.
const STOCK: i64 = 2;
/// Shorter than patience.
const A_MOMENT: Duration = Duration::from_millis(300);
/// Longer than patience, so that the saga turns back if it can.
const A_WHILE: Duration = Duration::from_millis(2_500);

const SETTINGS: [(&str, &str); 7] = [
    ("orchestrator.step.attempt_timeout_ms", "500"),
    ("orchestrator.step.backoff_ms", "5"),
    ("orchestrator.step.backoff_max_ms", "50"),
    ("orchestrator.step.patience_ms", "1500"),
    ("orchestrator.saga.scan_interval_ms", "100"),
    ("orchestrator.saga.parked_retry_ms", "1000"),
    ("fulfilment.default_warehouse", "false"),
];

/// One order with one thing wrong.
struct Case {
    name: String,
    change: fn(&mut PlaceOrderRequest),
    mishap: Option<(Call, Mishap)>,
    /// What may come of it: `None` is paid, otherwise refused for this reason.
    allowed: Vec<Option<Reason>>,
    /// What a call that comes late is answered: `None` is well, otherwise a recorded refusal for this reason.
    late: Option<Reason>,
}

// === impl Case ===

impl Case {
    fn new(step: &Step, call: Call, mishap: Mishap, allowed: &[Option<Reason>]) -> Self {
        let name = format!("{}: {call} {mishap:?}", step.info.name);
        Self { name, change: |_| {}, mishap: Some((call, mishap)), allowed: allowed.to_vec(), late: None }
    }

    /// What is wrong with how it ended.
    async fn run(&self, n: usize, shop: &Shop, script: &Script) -> Vec<String> {
        let (buyer, sku) = (format!("buyer-{n}"), format!("ITEM-{n}"));
        shop.clone().stock(&sku, 1_999, STOCK).await;
        if let Some((call, mishap)) = self.mishap {
            script.plan(&buyer, On::Call(call), mishap);
        }
        let mut order = request(&buyer, &sku);
        (self.change)(&mut order);
        let beside = request(&format!("neighbour-{n}"), &sku);
        let (ended, neighbour) = tokio::join!(follow(shop, order), follow(shop, beside));
        let (ended, neighbour) = match (ended, neighbour) {
            (Ok(ended), Ok(neighbour)) => (ended, neighbour),
            (Err(complaint), _) => return vec![complaint],
            (_, Err(complaint)) => return vec![format!("the order beside it: {complaint}")],
        };
        let mut complaints = [ended.complaints, neighbour.complaints].concat();
        if !self.allowed.contains(&ended.answer.reason()) {
            complaints.push(format!("{:?}; allowed are {:?}", ended.answer, self.allowed));
        }
        if !neighbour.answer.is_paid() {
            complaints.push(format!("the order beside it: {:?}", neighbour.answer));
        }
        if let Some((_, Mishap::Late { .. })) = self.mishap {
            complaints.extend(self.arrival(&buyer, script).await);
        }
        let sold = [&ended.answer, &neighbour.answer].into_iter().filter(|answer| answer.is_paid()).count();
        complaints.extend(shelf(shop, &sku, STOCK, sold).await);
        complaints.extend(script.complaints(&buyer));
        complaints
    }

    /// What is wrong with the answer to the call that came late.
    async fn arrival(&self, buyer: &str, script: &Script) -> Option<String> {
        let arrived = async {
            loop {
                if let Some(answer) = script.late(buyer) {
                    return answer;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let answer = match timeout(LIMIT, arrived).await {
            Ok(answer) => answer,
            Err(_) => return Some("what was late never came".to_owned()),
        };
        let is_good = match (&answer, self.late) {
            (Ok(()), None) => true,
            (Err(fault), Some(reason)) => fault.is_recorded() && fault.reason == reason,
            (Ok(()), Some(_)) | (Err(_), None) => false,
        };
        (!is_good).then(|| format!("came late and was answered {answer:?}, not {:?}", self.late))
    }
}

/// What passes by itself, so that it makes no difference to how an order ends.
pub(crate) const PASSING: [Mishap; 11] = [
    Mishap::Lost(Span::Times(1)),
    Mishap::Lost(Span::Times(3)),
    Mishap::Unheard(Span::Times(1)),
    Mishap::Unheard(Span::Times(3)),
    Mishap::Shed(Span::Times(1)),
    Mishap::Shed(Span::Times(3)),
    Mishap::Hangs,
    Mishap::Twice,
    Mishap::AtOnce,
    Mishap::Denied,
    Mishap::Down(A_MOMENT),
];

/// The ways in which a call that must not be refused goes wrong.
fn must_get_through(call: Call) -> Vec<Mishap> {
    [PASSING.as_slice(), &[Mishap::Down(A_WHILE), Mishap::Late { after: call }]].concat()
}

/// The calls of a step on the way forward.
fn forward(step: &Step) -> Vec<Case> {
    let call = step.calls.forward;
    let case = |mishap, allowed: &[Option<Reason>]| Case::new(step, call, mishap, allowed);
    if step.info.kind == Kind::Retriable {
        return must_get_through(call).into_iter().map(|mishap| case(mishap, &[None])).collect();
    }
    // Whatever is between the participants, the one with the row decides: what it has captured stays so.
    let unheard = if step.info.kind == Kind::Pivot { None } else { Some(Reason::Expired) };
    let late = Mishap::Late { after: step.calls.compensation.unwrap_or(VOID) };
    let mut cases: Vec<_> = PASSING.into_iter().map(|mishap| case(mishap, &[None])).collect();
    cases.push(case(Mishap::Lost(Span::UntilTurnedBack), &[Some(Reason::Expired)]));
    cases.push(case(Mishap::Unheard(Span::UntilTurnedBack), &[unheard]));
    cases.push(case(Mishap::Shed(Span::UntilTurnedBack), &[Some(Reason::Expired)]));
    cases.push(case(Mishap::Down(A_WHILE), &[None, Some(Reason::Expired)]));
    cases.push(case(Mishap::Forestalled, &[Some(Reason::Cancelled)]));
    cases.push(Case { late: Some(Reason::Cancelled), ..case(late, &[Some(Reason::Expired)]) });
    cases.extend(step.calls.refusals.iter().map(|(change, reason)| Case {
        name: format!("{}: {call} is refused {reason}", step.info.name),
        change: *change,
        mishap: None,
        allowed: vec![Some(*reason)],
        late: None,
    }));
    cases
}

/// A step's compensation, in an order that turns back after everything was done.
fn backward(step: &Step) -> Vec<Case> {
    let Some(call) = step.calls.compensation else { return Vec::new() };
    let case = |mishap| Case {
        change: |order| pay_with(order, CAPTURE_DECLINED),
        ..Case::new(step, call, mishap, &[Some(Reason::PaymentDeclined)])
    };
    must_get_through(call).into_iter().map(case).collect()
}

/// There is one warehouse, and it sends nothing overseas.
async fn open_warehouse(data: &std::path::Path, address: std::net::SocketAddr) {
    let (client, policies) = (settings(data, &[]).client, spillway_runtime::policies());
    let channel = spillway_runtime::connect(&format!("http://{address}"), &client, &policies, Preset::Edge).unwrap();
    let warehouse = Warehouse {
        warehouse_id: "europe".to_owned(),
        regions: vec!["EU".to_owned()],
        promised_days: 2,
        active: true,
        ..Warehouse::default()
    };
    let request = CreateWarehouseRequest { request_id: RequestId::random().to_string(), warehouse: Some(warehouse) };
    WarehouseServiceClient::new(channel).create_warehouse(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_with_a_call_the_order_ends_one_way_and_holds_nothing() {
    let data = tempfile::tempdir().unwrap();
    let script = Script::new();
    let (platform, shop) = open(data.path(), &SETTINGS, script.around()).await;
    open_warehouse(data.path(), platform.addresses().fulfilment).await;

    let steps = steps::all();
    let cases: Vec<_> = steps.iter().flat_map(|step| forward(step).into_iter().chain(backward(step))).collect();
    println!("{} cases", cases.len());
    let run = |(n, case): (usize, Case)| {
        let (shop, script) = (shop.clone(), Arc::clone(&script));
        async move {
            let complaints = case.run(n, &shop, &script).await;
            complaints.into_iter().map(|complaint| format!("{}: {complaint}", case.name)).collect::<Vec<_>>()
        }
    };
    let complaints: Vec<_> =
        stream::iter(cases.into_iter().enumerate()).map(run).buffer_unordered(AT_ONCE).concat().await;
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    judge(data.path()).await;
    platform.stop().await.unwrap();
}
