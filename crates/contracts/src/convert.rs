//! Between wire and domain. Parsers note every wrong field in [`Violations`] and answer `None`, so that a caller hears of
//! all of them at once:
//!
//! ```
//! use spillway_contracts::{convert, order::v1::CreateOrderRequest};
//! use spillway_types::Violations;
//!
//! let request = CreateOrderRequest::default();
//! let mut wrong = Violations::default();
//! let key = convert::request_id("request_id", &request.request_id, &mut wrong);
//! let order = convert::order_id("order_id", &request.order_id, &mut wrong);
//! let fault = wrong.finish(key.zip(order)).unwrap_err();
//! assert_eq!(fault.fields.len(), 2);
//! ```

use std::{fmt, str::FromStr, time::Duration};

use spillway_types::{
    BuyerId, CouponCode, Currency, Money, OrderId, RequestId, ShipmentId, Sku, Timestamp, Violations, WarehouseId,
    money::MoneyError,
};

use crate::{google::type_, types::v1::Line};

/// Pieces in one line. A buyer of more is a trader, who has other ways; and sums of a hundred such lines stay far from
/// the end of 64 bits.
pub const MAX_QUANTITY_PER_LINE: u32 = 10_000;
/// Lines in one request. Bounds what one command can lock, and keeps requests far below the decoding limit.
pub const MAX_LINES: usize = 100;
/// Bytes in a text for people: a reason, a title, a line of an address. What a label or a log line can show.
pub const MAX_TEXT: usize = 256;

// ## To the wire

/// An amount of money.
pub fn to_money(money: Money) -> type_::Money {
    let (units, nanos) = money.to_units();
    type_::Money { currency_code: money.currency.as_str().to_owned(), units, nanos }
}

/// A moment.
pub fn to_timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos: i32::try_from(nanos).unwrap_or_default() }
}

/// A span of time; stops at the end of the range.
pub fn to_duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
    }
}

// ## From the wire, of a peer

/// An amount of money.
///
/// # Errors
/// When the currency is none, or the amount no whole number of minor units.
pub fn from_money(money: &type_::Money) -> Result<Money, MoneyError> {
    let currency: Currency = money.currency_code.parse()?;
    Money::from_units(currency, money.units, money.nanos)
}

/// A moment, rounded down to the microsecond; stops at the ends of the range.
pub fn from_timestamp(time: prost_types::Timestamp) -> Timestamp {
    let micros = time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos).div_euclid(1_000));
    Timestamp::from_micros(micros)
}

/// A span of time; `None` when it is negative.
pub fn from_duration(span: prost_types::Duration) -> Option<Duration> {
    Duration::try_from(span).ok()
}

// ## From the wire, of a caller

/// A field that must be there.
pub fn required<T>(field: &str, value: Option<T>, wrong: &mut Violations) -> Option<T> {
    if value.is_none() {
        wrong.add(field, "is required");
    }
    value
}

/// A text field that must be there, parsed. Tells "missing" from "malformed".
pub fn parsed<T: FromStr<Err: fmt::Display>>(field: &str, text: &str, wrong: &mut Violations) -> Option<T> {
    if text.is_empty() {
        wrong.add(field, "is required");
        return None;
    }
    wrong.parse(field, text)
}

/// A text field that may be empty, parsed: `Some(None)` when it is empty, `None` when it is malformed.
pub fn optional<T: FromStr<Err: fmt::Display>>(field: &str, text: &str, wrong: &mut Violations) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { wrong.parse(field, text).map(Some) }
}

/// A caller's idempotency key.
pub fn request_id(field: &str, text: &str, wrong: &mut Violations) -> Option<RequestId> {
    uuid(field, text, "is required: mint a UUID per request and repeat it when you try again", wrong)
}

/// The id of an order, or of its saga, reservation or payment.
pub fn order_id(field: &str, text: &str, wrong: &mut Violations) -> Option<OrderId> {
    uuid(field, text, "is required", wrong)
}

/// The id of a shipment.
pub fn shipment_id(field: &str, text: &str, wrong: &mut Violations) -> Option<ShipmentId> {
    uuid(field, text, "is required", wrong)
}

fn uuid<T: FromStr>(field: &str, text: &str, missing: &str, wrong: &mut Violations) -> Option<T> {
    if text.is_empty() {
        wrong.add(field, missing);
        return None;
    }
    let id = text.parse().ok();
    if id.is_none() {
        wrong.add(field, "must be a UUID, such as 0193a5f0-1c2e-8a4b-9d3f-5b7c2a1e4f60");
    }
    id
}

/// Who buys.
pub fn buyer_id(field: &str, text: &str, wrong: &mut Violations) -> Option<BuyerId> {
    parsed(field, text, wrong)
}

/// A stock-keeping unit.
pub fn sku(field: &str, text: &str, wrong: &mut Violations) -> Option<Sku> {
    parsed(field, text, wrong)
}

/// A warehouse.
pub fn warehouse_id(field: &str, text: &str, wrong: &mut Violations) -> Option<WarehouseId> {
    parsed(field, text, wrong)
}

/// A coupon's code, which may be absent: `Some(None)` when empty.
pub fn coupon_code(field: &str, text: &str, wrong: &mut Violations) -> Option<Option<CouponCode>> {
    optional(field, text, wrong)
}

/// A text for people of at most [`MAX_TEXT`] bytes, without control characters; may be empty.
pub fn text(field: &str, text: &str, wrong: &mut Violations) -> Option<String> {
    if text.len() > MAX_TEXT {
        wrong.add(field, format!("must be at most {MAX_TEXT} bytes long, has {}", text.len()));
    } else if text.chars().any(char::is_control) {
        wrong.add(field, "must not hold control characters");
    } else {
        return Some(text.to_owned());
    }
    None
}

/// The same, not empty.
pub fn required_text(field: &str, value: &str, wrong: &mut Violations) -> Option<String> {
    if value.is_empty() {
        wrong.add(field, "is required");
        return None;
    }
    text(field, value, wrong)
}

/// An amount of money that must be there and not be negative.
pub fn money(field: &str, value: Option<&type_::Money>, wrong: &mut Violations) -> Option<Money> {
    let value = required(field, value, wrong)?;
    let money = wrong.take(field, from_money(value))?;
    if money.minor < 0 {
        wrong.add(field, "must not be negative");
        return None;
    }
    Some(money)
}

/// An amount of money that may be absent: `Some(None)` then.
pub fn optional_money(field: &str, value: Option<&type_::Money>, wrong: &mut Violations) -> Option<Option<Money>> {
    match value {
        None => Some(None),
        Some(_) => money(field, value, wrong).map(Some),
    }
}

/// Pieces in a line: 1 to [`MAX_QUANTITY_PER_LINE`].
pub fn quantity(field: &str, value: u32, wrong: &mut Violations) -> Option<u32> {
    if (1..=MAX_QUANTITY_PER_LINE).contains(&value) {
        return Some(value);
    }
    wrong.add(field, format!("must be 1 to {MAX_QUANTITY_PER_LINE}, is {value}"));
    None
}

/// A count that must not be negative, such as points.
pub fn not_negative(field: &str, value: i64, wrong: &mut Violations) -> Option<i64> {
    if value >= 0 {
        return Some(value);
    }
    wrong.add(field, format!("must not be negative, is {value}"));
    None
}

/// A value of an enum, not `UNSPECIFIED`. Both the number 0 and numbers of a newer version are refused.
pub fn enumerated<E: TryFrom<i32>>(field: &str, number: i32, wrong: &mut Violations) -> Option<E> {
    match E::try_from(number) {
        Ok(value) if number != 0 => Some(value),
        Ok(_) => required(field, None, wrong),
        Err(_) => {
            wrong.add(field, format!("{number} is not a value of this enum"));
            None
        }
    }
}

/// Values of an enum, as in a filter by state.
pub fn enumerated_all<E: TryFrom<i32>>(field: &str, numbers: &[i32], wrong: &mut Violations) -> Option<Vec<E>> {
    let mut values = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        values.extend(enumerated(&format!("{field}[{index}]"), *number, wrong));
    }
    (values.len() == numbers.len()).then_some(values)
}

/// The lines of an order: 1 to [`MAX_LINES`], each checked, lines of one SKU added up, sorted by SKU.
pub fn lines(field: &str, lines: &[Line], wrong: &mut Violations) -> Option<Vec<(Sku, u32)>> {
    if lines.is_empty() {
        return required(field, None, wrong);
    }
    optional_lines(field, lines, wrong)
}

/// The same, where no line at all means "all there is".
pub fn optional_lines(field: &str, lines: &[Line], wrong: &mut Violations) -> Option<Vec<(Sku, u32)>> {
    if lines.len() > MAX_LINES {
        wrong.add(field, format!("must be at most {MAX_LINES} lines, has {}", lines.len()));
        return None;
    }
    let mut sums = std::collections::BTreeMap::<Sku, u32>::new();
    let mut good = 0;
    for (index, line) in lines.iter().enumerate() {
        let sku = sku(&format!("{field}[{index}].sku"), &line.sku, wrong);
        let quantity = quantity(&format!("{field}[{index}].quantity"), line.quantity, wrong);
        if let Some((sku, quantity)) = sku.zip(quantity) {
            // At most MAX_LINES times MAX_QUANTITY_PER_LINE: a million.
            *sums.entry(sku).or_default() += quantity;
            good += 1;
        }
    }
    let mut fits = true;
    for (sku, sum) in sums.iter().filter(|(_, sum)| **sum > MAX_QUANTITY_PER_LINE) {
        wrong.add(field, format!("{sku} adds up to {sum}; at most {MAX_QUANTITY_PER_LINE} can be asked for"));
        fits = false;
    }
    (fits && good == lines.len()).then(|| sums.into_iter().collect())
}

/// Lines for the wire.
pub fn to_lines<'a>(lines: impl IntoIterator<Item = (&'a Sku, u32)>) -> Vec<Line> {
    lines.into_iter().map(|(sku, quantity)| Line { sku: sku.as_str().to_owned(), quantity }).collect()
}

#[cfg(test)]
mod tests;
