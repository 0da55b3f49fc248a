//! A Reserve on its way past the gate.

use std::sync::Arc;

use spillway_contracts::types::v1::Line;
use spillway_storage::{Resources, group_commit::Limits};
use spillway_types::{Fingerprint, Money, Reason, RequestId};

use super::*;
use crate::{
    config::GateConfig,
    domain::command::{AdjustStock, CreateItem, Once},
    store::{
        self,
        gate::{Gate, memory::MemoryCounters},
    },
};

const GATE: GateConfig = GateConfig { interval_ms: 10_000, budget_ms: 50, skus_max: 64 };

/// The service's handlers over a file, with `units` of one SKU, and no worker beside them.
async fn shop(directory: &tempfile::TempDir, units: i64) -> Api {
    let (limits, resources) = (Limits { batch_max: 64, queue_max: 64 }, Resources::in_directory(directory.path()));
    let (_, committer, reader) = store::open(&"sqlite:".parse().unwrap(), limits, &resources).await.unwrap();
    let api = Api { committer, reader, gate: Arc::new(Gate::new(Arc::new(MemoryCounters::new()), GATE)) };
    let unit_price = Money::new(1_999, "EUR".parse().unwrap());
    let body = CreateItem { sku: hot(), title: "hot".to_owned(), unit_price, on_hand: units };
    api.committer.submit(Command::CreateItem(once(body))).await.unwrap().unwrap();
    api
}

fn hot() -> Sku {
    Sku::new("HOT").unwrap()
}

fn once<T: Serialize>(body: T) -> Once<T> {
    Once { request_id: RequestId::random(), fingerprint: Fingerprint::of(&body), body }
}

fn request(n: u128) -> ReserveRequest {
    ReserveRequest {
        request_id: RequestId::random().to_string(),
        order_id: uuid::Uuid::from_u128(n).to_string(),
        buyer_id: "ada".to_owned(),
        lines: vec![Line { sku: "HOT".to_owned(), quantity: 1 }],
        ttl: None,
        pinned: true,
        retry: false,
    }
}

async fn ask(api: &Api, request: ReserveRequest) -> Result<(), Fault> {
    handle(api, Request::new(request)).await.map(drop)
}

async fn left(api: &Api) -> (Option<i64>, i64) {
    let item = api.reader.item(&hot()).await.unwrap().unwrap();
    (api.gate.admissible(&hot()).await.unwrap(), item.available)
}

#[tokio::test]
async fn a_first_attempt_is_refused_at_the_gate_and_a_repeat_by_the_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let api = shop(&directory, 1).await;
    ask(&api, request(1)).await.unwrap();
    api.gate.reconcile(&*api.reader).await.unwrap();

    let batches = api.committer.totals().batches;
    let refused = ask(&api, request(2)).await.unwrap_err();
    assert_eq!((refused.reason, refused.metadata["recorded"].as_str()), (Reason::OutOfStock, "false"));
    assert_eq!(refused.preconditions[0].description, "1 wanted, 0 left");
    assert_eq!(api.committer.totals().batches, batches, "the ledger has not heard of it");

    ask(&api, request(1)).await.expect("a copy of what was let through is let through");
    assert_eq!(ask(&api, request(2)).await.unwrap_err(), refused, "and a copy of what was refused is refused");
    let refused = ask(&api, ReserveRequest { retry: true, ..request(2) }).await.unwrap_err();
    assert!(refused.reason == Reason::OutOfStock && refused.is_recorded(), "{refused:?}");
    let mut repeat = Request::new(request(3));
    repeat.metadata_mut().insert(PREVIOUS_ATTEMPTS, 1.into());
    let refused = handle(&api, repeat).await.unwrap_err();
    assert!(refused.reason == Reason::OutOfStock && refused.is_recorded(), "a client's stack says so too: {refused:?}");
}

#[tokio::test]
async fn a_refusal_of_the_ledger_goes_back_to_the_gate_and_a_promise_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let api = shop(&directory, 3).await;
    ask(&api, request(1)).await.unwrap();
    api.gate.reconcile(&*api.reader).await.unwrap();
    assert_eq!(left(&api).await, (Some(2), 2));
    ask(&api, request(2)).await.unwrap();
    assert_eq!(left(&api).await, (Some(1), 1));
    let reused = ReserveRequest { pinned: false, ..request(1) };
    assert_eq!(ask(&api, reused).await.unwrap_err().reason, Reason::RequestIdReused);
    assert_eq!(left(&api).await, (Some(1), 1));

    let adjust = AdjustStock { sku: hot(), delta: 4, reason: "found".to_owned() };
    api.committer.submit(Command::AdjustStock(once(adjust))).await.unwrap().unwrap();
    assert_eq!(left(&api).await, (Some(1), 5), "it may admit too few until it is reconciled");
    api.gate.reconcile(&*api.reader).await.unwrap();
    assert_eq!(left(&api).await, (Some(5), 5));
}
