use std::time::Duration;

use serde_json::json;
use spillway_contracts::{
    google::type_,
    order::v1::{GetOrderResponse, Order, OrderState},
    types::v1::PriceSnapshot,
};
use spillway_types::{Fault, Reason, Violations};

use super::*;

fn out_of_stock() -> Failure {
    let fault = Fault::new(Reason::OutOfStock, "not enough left of 1 SKU")
        .with_precondition("STOCK", "TEE-BLACK", "3 wanted, 2 left")
        .with("order_id", "0193a5f0-1c2e-8a4b-9d3f-5b7c2a1e4f60")
        .recorded();
    Failure::call("the order was not placed", fault)
}

fn as_json(failure: &Failure) -> serde_json::Value {
    serde_json::to_value(Envelope { error: failure }).unwrap()
}

#[test]
fn a_refusal_says_why_and_what_to_do_next() {
    let expected = "\
error: the order was not placed: not enough left of 1 SKU
  reason    OUT_OF_STOCK
  stock     TEE-BLACK: 3 wanted, 2 left
  order_id  0193a5f0-1c2e-8a4b-9d3f-5b7c2a1e4f60
next: ask for less, or put more in: spillway stock adjust SKU --by N --reason TEXT
";
    assert_eq!((out_of_stock().to_string().as_str(), out_of_stock().exit()), (expected, Exit::Refused));
}

#[test]
fn a_refusal_is_an_object_for_machines() {
    let expected = json!({"error": {
        "what": "the order was not placed",
        "reason": "OUT_OF_STOCK",
        "code": "FAILED_PRECONDITION",
        "message": "not enough left of 1 SKU",
        "metadata": {"order_id": "0193a5f0-1c2e-8a4b-9d3f-5b7c2a1e4f60", "recorded": "true"},
        "violations": [],
        "preconditions": [{"kind": "STOCK", "subject": "TEE-BLACK", "description": "3 wanted, 2 left"}],
        "resource": null,
        "retry_after_ms": null,
        "next": ["ask for less, or put more in: spillway stock adjust SKU --by N --reason TEXT"],
    }});
    assert_eq!(as_json(&out_of_stock()), expected);
}

#[test]
fn a_malformed_request_names_each_field_once() {
    let mut wrong = Violations::default();
    wrong.add("lines[0].sku", "must not be empty");
    wrong.add("buyer_id", "is required");
    let failure = Failure::call("the order was not placed", wrong.into());
    let expected = "\
error: the order was not placed: the request is malformed
  reason  INVALID_REQUEST
  field   lines[0].sku: must not be empty
  field   buyer_id: is required
next: correct what is named above; --help shows how it is typed
";
    assert_eq!((failure.to_string().as_str(), failure.exit()), (expected, Exit::Usage));
}

#[test]
fn what_is_not_known_is_never_called_a_refusal() {
    for (reason, exit) in [
        (Reason::Unreachable, Exit::Unknown),
        (Reason::Shed, Exit::Unknown),
        (Reason::DeadlineExceeded, Exit::Unknown),
        (Reason::Internal, Exit::Unknown),
        (Reason::NotFound, Exit::Refused),
        (Reason::PaymentDeclined, Exit::Refused),
    ] {
        assert_eq!(Failure::call("x", Fault::new(reason, "y")).exit(), exit, "{reason}");
    }
}

#[test]
fn a_retry_time_is_told() {
    let fault = Fault::new(Reason::Shed, "too many orders").with_retry_after(Duration::from_millis(200));
    let failure = Failure::call("the order was not placed", fault);
    assert!(failure.to_string().contains("  again in  200 ms\n"), "{failure}");
    assert_eq!(as_json(&failure)["error"]["retry_after_ms"], json!(200));
}

#[test]
fn several_lines_stand_below_their_head() {
    let failure = Failure::arguments("order.listen: not an address\norder.colour: unknown");
    assert_eq!(
        failure.to_string(),
        "error: the command line is wrong:\norder.listen: not an address\norder.colour: unknown\n"
    );
    assert_eq!(as_json(&failure)["error"]["code"], json!(null));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let failure = Failure::unprinted(&io::Error::from(io::ErrorKind::BrokenPipe));
    assert!(failure.is_silent() && failure.exit() == Exit::Done);
    let failure = Failure::unprinted(&io::Error::from(io::ErrorKind::StorageFull));
    assert!(!failure.is_silent() && failure.exit() == Exit::Refused);
}

#[test]
fn an_answer_has_the_names_of_the_protos() {
    let total = type_::Money { currency_code: "EUR".to_owned(), units: 12, nanos: 300_000_000 };
    let order = Order {
        order_id: "o-1".to_owned(),
        state: OrderState::AwaitingPayment.into(),
        version: 2,
        price: Some(PriceSnapshot { total: Some(total), ..PriceSnapshot::default() }),
        create_time: Some(prost_types::Timestamp { seconds: 1_795_219_199, nanos: 0 }),
        ..Order::default()
    };
    let money = r#"{"currency_code":"EUR","units":12,"nanos":300000000}"#;
    let expected = [
        r#"{"order":{"order_id":"o-1","tenant_id":"","buyer_id":"","state":"ORDER_STATE_AWAITING_PAYMENT","version":2,"#,
        &format!(
            r#""price":{{"lines":[],"total":{money}}},"cancel_reason":"","create_time":"2026-11-20T23:59:59Z"}},"stale":false}}"#
        ),
    ];
    let answer = GetOrderResponse { order: Some(order), stale: false };
    assert_eq!(json::of(&answer, Lines::One).unwrap(), expected.concat());
    assert!(json::of(&answer, Lines::Many).unwrap().starts_with("{\n  \"order\": {\n    \"order_id\": \"o-1\",\n"));
}
