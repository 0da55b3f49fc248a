//! An order through five real services in one process, as a caller sees it.

use std::time::Duration;

use spillway_contracts::{
    orchestrator::v1::{CancelOrderRequest, LookupOrderRequest, OrderOutcome},
    order::v1::{GetOrderRequest, ListOrderEventsRequest, OrderState, WatchOrderRequest},
};
use spillway_middleware::status::to_fault;
use spillway_tests::shop::{open, order, until};
use spillway_types::{Reason, RequestId};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_then_goes_to_the_warehouse_and_a_repeat_finds_it() {
    let data = tempfile::tempdir().unwrap();
    let (platform, mut shop) = open(data.path(), &[], |links| links).await;
    shop.stock("TEE", 1_999, 10).await;
    let request = order("ada", "TEE", 2, "sandbox:approved");
    let placed = shop.checkout.place_order(request.clone()).await.unwrap().into_inner();
    assert_eq!(placed.outcome(), OrderOutcome::Paid);
    let total = placed.price.as_ref().unwrap().total.as_ref().unwrap();
    assert_eq!((total.units, total.nanos), (39, 980_000_000));

    let again = shop.checkout.place_order(request.clone()).await.unwrap().into_inner();
    assert_eq!((again.order_id.as_str(), again.outcome()), (placed.order_id.as_str(), OrderOutcome::Paid));
    let mut other = request.clone();
    other.lines[0].quantity = 3;
    let reused = to_fault(&shop.checkout.place_order(other).await.unwrap_err());
    assert_eq!(reused.reason, Reason::RequestIdReused);

    let find = GetOrderRequest { order_id: placed.order_id.clone() };
    until("the order is with the warehouse", Duration::from_secs(10), || {
        let (mut orders, find) = (shop.orders.clone(), find.clone());
        async move {
            let order = orders.get_order(find).await.unwrap().into_inner().order.unwrap();
            (order.state() == OrderState::Fulfilling).then_some(())
        }
    })
    .await;
    let list = ListOrderEventsRequest { order_id: placed.order_id.clone(), ..ListOrderEventsRequest::default() };
    let events = shop.orders.list_order_events(list).await.unwrap().into_inner().events;
    let states: Vec<_> = events.iter().map(|event| (event.version, event.to_state())).collect();
    assert_eq!(states, [(1, OrderState::Pending), (2, OrderState::Paid), (3, OrderState::Fulfilling)]);
    let item = shop.item("TEE").await;
    assert_eq!((item.available, item.held, item.sold_unshipped), (8, 0, 2));

    let too_late = CancelOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: placed.order_id.clone(),
        ..CancelOrderRequest::default()
    };
    let fault = to_fault(&shop.checkout.cancel_order(too_late).await.unwrap_err());
    assert_eq!(fault.reason, Reason::NotCancellable);
    let find = LookupOrderRequest { buyer_id: "ada".to_owned(), request_id: request.request_id };
    let found = shop.checkout.lookup_order(find).await.unwrap().into_inner().answer.unwrap();
    assert_eq!(found.order_id, placed.order_id);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_why_and_leave_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let (platform, mut shop) = open(data.path(), &[], |links| links).await;
    shop.stock("TEE", 1_999, 1).await;
    let mut reason = async |request| to_fault(&shop.checkout.place_order(request).await.unwrap_err());

    let declined = order("ada", "TEE", 1, "sandbox:declined");
    let first = reason(declined.clone()).await;
    assert_eq!(first.reason, Reason::PaymentDeclined, "{first:?}");
    assert_eq!(reason(declined).await, first, "a recorded refusal is repeated");

    let sold_out = reason(order("bob", "TEE", 5, "sandbox:approved")).await;
    assert_eq!(sold_out.reason, Reason::OutOfStock);
    assert_eq!(sold_out.preconditions[0].subject, "TEE");

    let unknown = reason(order("bob", "NO-SUCH-THING", 1, "sandbox:approved")).await;
    assert_eq!(unknown.reason, Reason::NotFound);

    let mut malformed = order("", "bad sku", 0, "sandbox:approved");
    malformed.shipping_address = None;
    let fault = reason(malformed).await;
    let fields: Vec<_> = fault.fields.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["buyer_id", "lines[0].sku", "lines[0].quantity", "shipping_address"]);

    let item = shop.item("TEE").await;
    assert_eq!((item.available, item.held), (1, 0), "nothing is held");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_payment_is_processing_and_can_still_be_cancelled() {
    let data = tempfile::tempdir().unwrap();
    let slow = [("payment.sandbox.slow_ms", "1000")];
    let (platform, mut shop) = open(data.path(), &slow, |links| links).await;
    shop.stock("TEE", 1_999, 1).await;
    let mut request = tonic::Request::new(order("ada", "TEE", 1, "sandbox:slow"));
    request.set_timeout(Duration::from_millis(500));
    let placed = shop.checkout.place_order(request).await.unwrap().into_inner();
    assert_eq!(placed.outcome(), OrderOutcome::Processing);

    let watch = WatchOrderRequest { order_id: placed.order_id.clone(), after_version: 0 };
    let mut moves = shop.orders.watch_order(watch).await.unwrap().into_inner();
    let first = moves.message().await.unwrap().unwrap().event.unwrap();
    assert_eq!(first.to_state(), OrderState::Pending);
    let cancel = CancelOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: placed.order_id.clone(),
        reason: "changed my mind".to_owned(),
        ..CancelOrderRequest::default()
    };
    let cancelled = shop.checkout.cancel_order(cancel.clone()).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), OrderState::Cancelled);
    let find = GetOrderRequest { order_id: placed.order_id.clone() };
    let order = shop.orders.get_order(find).await.unwrap().into_inner().order.unwrap();
    assert_eq!(order.state(), OrderState::Cancelled, "who was told can read it");
    let last = moves.message().await.unwrap().unwrap().event.unwrap();
    assert_eq!(last.to_state(), OrderState::Cancelled);
    assert!(moves.message().await.unwrap().is_none(), "the stream ends with the order");
    assert_eq!(shop.checkout.cancel_order(cancel).await.unwrap().into_inner().state(), OrderState::Cancelled);
    until("the unit is back on the shelf", Duration::from_secs(10), || {
        let mut shop = shop.clone();
        async move { (shop.item("TEE").await.available == 1).then_some(()) }
    })
    .await;
    platform.stop().await.unwrap();
}
