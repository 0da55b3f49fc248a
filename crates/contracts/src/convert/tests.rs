use spillway_types::Fault;

use super::*;

fn wire(code: &str, units: i64, nanos: i32) -> type_::Money {
    type_::Money { currency_code: code.to_owned(), units, nanos }
}

/// The fields that a parser found wrong.
fn wrong_fields(parse: impl FnOnce(&mut Violations)) -> Vec<String> {
    let mut wrong = Violations::default();
    parse(&mut wrong);
    Fault::from(wrong).fields.into_iter().map(|violation| violation.field).collect()
}

#[test]
fn money_survives_the_wire() {
    for (minor, code) in [(0, "EUR"), (1_299, "EUR"), (-5, "EUR"), (1_200, "JPY"), (1_234, "BHD"), (i64::MAX, "USD")] {
        let money = Money::new(minor, code.parse().unwrap());
        assert_eq!(from_money(&to_money(money)), Ok(money), "{money}");
    }
    assert_eq!(to_money(Money::new(-5, "EUR".parse().unwrap())), wire("EUR", 0, -50_000_000));
}

#[test]
fn moments_and_spans_survive_the_wire() {
    for micros in [0, 1, -1, 999_999, -1_000_001, 1_795_219_199_999_999] {
        let time = Timestamp::from_micros(micros);
        assert_eq!(from_timestamp(to_timestamp(time)), time);
        assert!((0..1_000_000_000).contains(&to_timestamp(time).nanos), "{micros}");
    }
    let span = Duration::new(90, 5_000);
    assert_eq!(from_duration(to_duration(span)), Some(span));
    assert_eq!(from_duration(prost_types::Duration { seconds: -1, nanos: 0 }), None);
    assert_eq!(from_duration(to_duration(Duration::MAX)).map(|span| span.as_secs()), Some(i64::MAX.unsigned_abs()));
}

#[test]
fn prices_must_be_there_whole_and_not_negative() {
    let mut wrong = Violations::default();
    assert_eq!(money("price", Some(&wire("EUR", 12, 990_000_000)), &mut wrong).unwrap().minor, 1_299);
    assert_eq!(optional_money("price", None, &mut wrong), Some(None));
    assert!(Fault::from(wrong).fields.is_empty());

    let bad = [None, Some(wire("eur", 1, 0)), Some(wire("", 1, 0)), Some(wire("EUR", 1, 1)), Some(wire("EUR", -1, 0))];
    for value in bad {
        let fields = wrong_fields(|wrong| assert_eq!(money("price", value.as_ref(), wrong), None));
        assert_eq!(fields, ["price"], "{value:?}");
    }
}

#[test]
fn every_wrong_line_is_named() {
    let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
    let all = [line("TEE", 1), line("", 1), line("MUG", 0), line("a b", MAX_QUANTITY_PER_LINE + 1)];
    let fields = wrong_fields(|wrong| assert_eq!(lines("lines", &all, wrong), None));
    assert_eq!(fields, ["lines[1].sku", "lines[2].quantity", "lines[3].sku", "lines[3].quantity"]);
    assert_eq!(wrong_fields(|wrong| assert_eq!(lines("lines", &[], wrong), None)), ["lines"]);
    let many = vec![line("TEE", 1); MAX_LINES + 1];
    assert_eq!(wrong_fields(|wrong| assert_eq!(lines("lines", &many, wrong), None)), ["lines"]);
    let split = [line("TEE", MAX_QUANTITY_PER_LINE), line("TEE", 1)];
    assert_eq!(wrong_fields(|wrong| assert_eq!(lines("lines", &split, wrong), None)), ["lines"]);
}

#[test]
fn lines_of_one_sku_add_up_in_the_order_of_skus() {
    let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
    let mut wrong = Violations::default();
    let parsed = lines("lines", &[line("TEE", 1), line("MUG", 2), line("TEE", 3)], &mut wrong).unwrap();
    let wire = to_lines(parsed.iter().map(|(sku, quantity)| (sku, *quantity)));
    assert_eq!(wire, [line("MUG", 2), line("TEE", 4)]);
    assert_eq!(optional_lines("lines", &[], &mut wrong), Some(Vec::new()));
}

#[test]
fn a_key_must_be_a_uuid() {
    for text in ["", "7", "not-a-uuid-at-all"] {
        assert_eq!(wrong_fields(|wrong| assert_eq!(request_id("request_id", text, wrong), None)), ["request_id"]);
    }
    let id = RequestId::random();
    assert_eq!(request_id("request_id", &id.to_string(), &mut Violations::default()), Some(id));
}

#[test]
fn an_enum_must_be_said_and_known() {
    use crate::order::v1::OrderState;

    let mut wrong = Violations::default();
    assert_eq!(enumerated("state", 3, &mut wrong), Some(OrderState::Paid));
    assert_eq!(enumerated_all("states", &[3, 8], &mut wrong), Some(vec![OrderState::Paid, OrderState::Cancelled]));
    assert!(Fault::from(wrong).fields.is_empty());
    let fields = wrong_fields(|wrong| {
        assert_eq!(enumerated::<OrderState>("state", 0, wrong), None);
        assert_eq!(enumerated_all::<OrderState>("states", &[3, 99], wrong), None);
    });
    assert_eq!(fields, ["state", "states[1]"]);
}

#[test]
fn texts_are_bounded_and_printable() {
    let mut wrong = Violations::default();
    assert_eq!(text("reason", "größer", &mut wrong).as_deref(), Some("größer"));
    assert_eq!(text("reason", "", &mut wrong).as_deref(), Some(""));
    let long = "x".repeat(MAX_TEXT + 1);
    for bad in [long.as_str(), "two\nlines"] {
        assert_eq!(wrong_fields(|wrong| assert_eq!(text("reason", bad, wrong), None)), ["reason"]);
    }
    assert_eq!(wrong_fields(|wrong| assert_eq!(required_text("reason", "", wrong), None)), ["reason"]);
}
