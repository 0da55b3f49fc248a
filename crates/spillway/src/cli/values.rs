//! How values are typed: money, lines, times, settings, states.

use std::time::Duration;

use spillway_contracts::{
    convert::to_money, fulfilment::v1::CarrierEventKind, google::type_, orchestrator::v1::SagaState,
    order::v1::OrderState, types::v1::Line,
};
use spillway_types::{Currency, Money, RequestId};

use crate::output::words::word;

/// An amount: `12.30EUR`, `12.30 EUR`, `1200JPY`. Read digit by digit, so that no float comes near it.
pub(crate) fn money(text: &str) -> Result<type_::Money, String> {
    let format = || "must be an amount with its currency, such as 12.30EUR".to_owned();
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(format)?;
    let (number, code) = text.split_at(split);
    let currency: Currency = code.to_ascii_uppercase().parse().map_err(|_| format())?;
    let number = number.trim_end();
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(format()),
        Some(parts) => parts,
        None => (number, ""),
    };
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format());
    }
    let decimals = currency.decimals();
    let missing = match u32::try_from(fraction.len()).ok().and_then(|has| decimals.checked_sub(has)) {
        Some(missing) => missing,
        None if decimals == 0 => return Err(format!("{currency} has no decimal places")),
        None => return Err(format!("{currency} has {decimals} decimal places, not {}", fraction.len())),
    };
    let minor = digits.parse::<i64>().ok().and_then(|digits| digits.checked_mul(10_i64.pow(missing)));
    minor.map(|minor| to_money(Money::new(minor, currency))).ok_or_else(|| "is too large".to_owned())
}

/// A line of an order: `TEE-BLACK=2`, or `TEE-BLACK` for one piece. What a SKU may look like is for the platform to say.
pub(crate) fn line(text: &str) -> Result<Line, String> {
    let (sku, quantity) = match text.rsplit_once('=') {
        Some((sku, quantity)) => (sku, quantity.parse().ok()),
        None => (text, Some(1)),
    };
    match quantity {
        Some(quantity) if !sku.is_empty() => Ok(Line { sku: sku.to_owned(), quantity }),
        Some(_) | None => Err("must be a SKU and how many pieces of it, such as TEE-BLACK=2".to_owned()),
    }
}

/// A setting: `order.listen=127.0.0.1:9001`.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("must be a key and its value, such as order.listen=127.0.0.1:9001".to_owned()),
    }
}

/// A span of time: `500ms`, `5s`, `2m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis_per_unit = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let millis = number.parse::<u64>().ok().zip(millis_per_unit).and_then(|(number, unit)| number.checked_mul(unit));
    match millis {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        Some(_) | None => Err("must be a span of time, such as 500ms, 5s or 2m".to_owned()),
    }
}

/// An idempotency key.
pub(crate) fn request_id(text: &str) -> Result<RequestId, String> {
    text.parse().map_err(|_| "must be a UUID, such as 0193a5f0-1c2e-8a4b-9d3f-5b7c2a1e4f60".to_owned())
}

/// A state of an order: `awaiting-payment`.
pub(crate) fn order_state(text: &str) -> Result<OrderState, String> {
    one_of(text, |state: &OrderState| word(state.as_str_name(), "ORDER_STATE_"))
}

/// A state of a saga: `parked`.
pub(crate) fn saga_state(text: &str) -> Result<SagaState, String> {
    one_of(text, |state: &SagaState| word(state.as_str_name(), "SAGA_STATE_"))
}

/// What a carrier reports: `picked-up`.
pub(crate) fn carrier_event(text: &str) -> Result<CarrierEventKind, String> {
    one_of(text, |kind: &CarrierEventKind| word(kind.as_str_name(), "CARRIER_EVENT_KIND_"))
}

/// The value of an enum whose word is `text`. Protos number from 1, without a gap, and 0 is "not said".
fn one_of<E: TryFrom<i32>>(text: &str, word: impl Fn(&E) -> String) -> Result<E, String> {
    let values = || (1..).map_while(|number| E::try_from(number).ok());
    let wanted = text.to_lowercase().replace('_', "-");
    values().find(|value| word(value) == wanted).ok_or_else(|| {
        let all: Vec<_> = values().map(|value| word(&value)).collect();
        format!("must be one of {}", all.join(", "))
    })
}
