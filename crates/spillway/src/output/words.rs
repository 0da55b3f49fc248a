//! Money, times and states as people read them.

use spillway_contracts::{
    convert::{from_money, from_timestamp},
    google::type_,
};

/// Stands where there is nothing.
pub(crate) const NONE: &str = "-";

/// `12.30 EUR`.
pub(crate) fn money(money: Option<&type_::Money>) -> String {
    money.and_then(|money| from_money(money).ok()).map_or_else(|| NONE.to_owned(), |money| money.to_string())
}

/// `2026-11-20T23:59:59.999Z`.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> String {
    time.map_or_else(|| NONE.to_owned(), |time| from_timestamp(time).to_string())
}

/// The word of an enum's value, as it is typed as well: `awaiting-payment` for `ORDER_STATE_AWAITING_PAYMENT`.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase().replace('_', "-")
}

/// `text`, or a sign that there is none.
pub(crate) fn some(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { text.to_owned() }
}
