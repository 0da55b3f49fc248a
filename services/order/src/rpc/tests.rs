use std::{path::Path, time::Duration};

use spillway_contracts::{
    order::v1::{ActorRole, OrderState},
    types::v1::{Address, PriceSnapshot, PricedLine},
};
use spillway_middleware::status::to_fault;
use spillway_storage::group_commit::{self, Limits};
use spillway_types::{ManualClock, Reason, RequestId, Timestamp};

use super::*;
use crate::{
    domain::{
        self,
        tests::{NOON, fresh_id},
    },
    store::sqlite,
};

pub(super) const SETTINGS: WatchConfig = WatchConfig { streams_max: 8, buffer: 2, slow_reader_ms: 200 };

/// The handlers over a file in `directory`, at a moment that stands still.
pub(super) async fn api(directory: &Path, now: Timestamp) -> Api {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(now));
    let hub = Hub::new(SETTINGS.streams_max);
    let (_, store, reader) = sqlite::open(&directory.join("order.db"), Arc::clone(&clock), hub.clone()).await.unwrap();
    let committer = group_commit::spawn(store, Limits { batch_max: 64, queue_max: 1_024 });
    let reader: Arc<dyn Reader> = Arc::new(reader);
    let lookup = Arc::new(Lookup::new(Arc::clone(&reader), None));
    Api { committer, reader, lookup, hub, clock, watch: SETTINGS }
}

/// A well-formed request: the domain's example as a caller sends it.
fn create(order_id: OrderId) -> CreateOrderRequest {
    let example = domain::tests::create(order_id, 2);
    let now = NOON;
    let message = convert::order(Order {
        order_id,
        tenant_id: example.tenant_id,
        buyer_id: Some(example.buyer_id),
        contents: Some(domain::Contents {
            fingerprint: example.fingerprint,
            price: example.price,
            address: example.address,
        }),
        state: domain::State::Pending,
        version: 1,
        cancel_reason: String::new(),
        created_at: now,
        updated_at: now,
    });
    CreateOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: message.order_id,
        buyer_id: message.buyer_id,
        price: message.price,
        shipping_address: message.shipping_address,
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

fn fault<T>(answer: Answered<T>) -> Fault {
    to_fault(&answer.map(drop).unwrap_err())
}

fn fields(fault: &Fault) -> Vec<&str> {
    fault.fields.iter().map(|violation| violation.field.as_str()).collect()
}

#[tokio::test]
async fn an_order_comes_back_as_it_was_sent_and_tells_its_moves_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let (api, id) = (api(directory.path(), NOON).await, fresh_id());
    let sent = create(id);
    let first = api.create_order(Request::new(sent.clone())).await.unwrap().into_inner().order.unwrap();
    assert_eq!(
        (first.price.clone(), first.shipping_address.clone()),
        (sent.price.clone(), sent.shipping_address.clone())
    );
    let reused = CreateOrderRequest { buyer_id: "mallory".to_owned(), ..sent };
    assert_eq!(fault(api.create_order(Request::new(reused)).await).reason, Reason::RequestIdReused);
    for to in [OrderState::AwaitingPayment, OrderState::Paid, OrderState::Fulfilling] {
        api.advance_order(Request::new(advance(id, to))).await.unwrap();
    }

    let got = api.get_order(Request::new(GetOrderRequest { order_id: id.to_string() })).await.unwrap().into_inner();
    let list = ListOrdersRequest { buyer_id: "ada".to_owned(), ..Default::default() };
    let listed = api.list_orders(Request::new(list)).await.unwrap().into_inner();
    assert_eq!((listed.orders, listed.next_page_token), (vec![got.order.clone().unwrap()], String::new()));
    let order = got.order.unwrap();
    assert_eq!((order.state(), order.version, order.price), (OrderState::Fulfilling, 4, first.price));

    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = ListOrderEventsRequest { order_id: id.to_string(), page_size: 3, page_token };
        let page = api.list_order_events(Request::new(page)).await.unwrap().into_inner();
        names.extend(page.events.into_iter().map(|event| (event.version, event.name)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected = ["order.created", "order.awaiting_payment", "order.paid", "order.fulfilling"];
    assert_eq!(names, (1..).zip(expected.map(str::to_owned)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_malformed_request_hears_of_every_field_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path(), NOON).await;
    let empty = fault(api.create_order(Request::new(CreateOrderRequest::default())).await);
    assert_eq!(fields(&empty), ["request_id", "order_id", "buyer_id", "price", "shipping_address"]);

    let mut odd = create(fresh_id());
    odd.price = Some(PriceSnapshot { lines: vec![PricedLine::default()], ..odd.price.unwrap() });
    odd.shipping_address = Some(Address { lines: vec!["a\nb".to_owned()], ..Default::default() });
    let odd = fault(api.create_order(Request::new(odd)).await);
    let line = ["sku", "quantity", "unit_price", "line_total"].map(|name| format!("price.lines[0].{name}"));
    let [sku, quantity, unit, total] = line.each_ref().map(String::as_str);
    assert_eq!(fields(&odd), [sku, quantity, unit, total, "shipping_address.region", "shipping_address.lines[0]"]);

    let mut wrong_sum = create(fresh_id());
    wrong_sum.price.as_mut().unwrap().total.as_mut().unwrap().units += 1;
    let wrong_sum = fault(api.create_order(Request::new(wrong_sum)).await);
    assert_eq!(fields(&wrong_sum), ["price.total"]);

    let id = fresh_id();
    let silent = AdvanceOrderRequest { reason: String::new(), actor_role: 0, ..advance(id, OrderState::Cancelled) };
    let silent = fault(api.advance_order(Request::new(silent)).await);
    assert_eq!(fields(&silent), ["reason", "actor_role"]);
    let backwards = AdvanceOrderRequest { expected_version: Some(-1), ..advance(id, OrderState::Pending) };
    let backwards = fault(api.advance_order(Request::new(backwards)).await);
    assert_eq!(fields(&backwards), ["to_state", "expected_version"]);
    let list = ListOrdersRequest { states: vec![0], page_size: -1, page_token: "?".to_owned(), ..Default::default() };
    let list = fault(api.list_orders(Request::new(list)).await);
    assert_eq!(fields(&list), ["states[0]", "page_size", "page_token"]);
}

#[tokio::test]
async fn an_unknown_order_is_worth_another_look_only_while_its_id_is_young() {
    let directory = tempfile::tempdir().unwrap();
    let id = fresh_id();
    for (age, retry_after) in [(1, Some(Duration::from_millis(200))), (31, None)] {
        let path = directory.path().join(age.to_string());
        std::fs::create_dir(&path).unwrap();
        let api = api(&path, NOON.saturating_add(Duration::from_secs(age))).await;
        let get = fault(api.get_order(Request::new(GetOrderRequest { order_id: id.to_string() })).await);
        let move_on = fault(api.advance_order(Request::new(advance(id, OrderState::Paid))).await);
        for fault in [get, move_on] {
            assert_eq!((fault.reason, fault.retry_after), (Reason::NotFound, retry_after));
        }
        let cancelled = api.advance_order(Request::new(advance(id, OrderState::Cancelled))).await.unwrap();
        let tombstone = cancelled.into_inner().order.unwrap();
        assert_eq!((tombstone.version, tombstone.price, tombstone.cancel_reason.as_str()), (0, None, "because"));
        assert_eq!(fault(api.create_order(Request::new(create(id))).await), Fault::tombstone());
    }
}
