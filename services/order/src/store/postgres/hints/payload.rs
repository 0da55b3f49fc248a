//! Hints as the text of notifications: ids and versions, nothing of what an order holds.

use std::{collections::BTreeMap, fmt::Write};

use spillway_types::OrderId;

/// The server takes 7,999 bytes at most.
const BYTES_MAX: usize = 7_900;
/// Bytes of an id in hexadecimal, without hyphens.
const ID_BYTES: usize = 32;
/// Room for an id, the longest version and a space.
const HINT_BYTES_MAX: usize = ID_BYTES + 20 + 1;

/// As few texts as hold them all.
pub(super) fn write(moved: &BTreeMap<OrderId, i64>) -> Vec<String> {
    let mut texts = vec![String::new()];
    for (order_id, version) in moved {
        if texts.last().is_some_and(|text| text.len() + HINT_BYTES_MAX > BYTES_MAX) {
            texts.push(String::new());
        }
        if let Some(text) = texts.last_mut() {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{}{version} ", order_id.uuid().simple());
        }
    }
    texts
}

/// The hints in a text. What another version of this service wrote differently is passed over; the sweep finds it.
pub(super) fn read(text: &str) -> impl Iterator<Item = (OrderId, i64)> {
    text.split_ascii_whitespace().filter_map(|hint| {
        let (order_id, version) = hint.split_at_checked(ID_BYTES)?;
        Some((order_id.parse().ok()?, version.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tests::fresh_id;

    #[test]
    fn hints_come_back_as_they_were_however_many_there_are() {
        for count in [0, 1, 300, 4_096] {
            let moved: BTreeMap<_, _> = (0..count).map(|version| (fresh_id(), version)).collect();
            let texts = write(&moved);
            assert!(texts.iter().all(|text| text.len() <= BYTES_MAX), "{count}");
            assert_eq!(texts.iter().flat_map(|text| read(text)).collect::<BTreeMap<_, _>>(), moved);
        }
    }

    #[test]
    fn what_is_no_hint_is_passed_over() {
        let id = fresh_id();
        let text = format!("{}7 nonsense {} ä {}x", id.uuid().simple(), id, id.uuid().simple());
        assert_eq!(read(&text).collect::<Vec<_>>(), [(id, 7)]);
    }
}
