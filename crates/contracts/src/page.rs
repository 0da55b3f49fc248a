//! Pages of lists. A token is a keyset cursor: where the last row of a page stood, so that rows which come and go do not
//! shift the pages behind it. It is opaque to callers, not secret: it tells nothing that the rows did not.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use spillway_types::Violations;

/// Rows in a page when the caller does not say.
pub const DEFAULT_PAGE_SIZE: u32 = 50;
/// Rows in a page at most. More are capped, not refused: such a page stays well below the encoding limit of 4 MiB.
pub const MAX_PAGE_SIZE: u32 = 500;
/// Bytes of a token at most; ours hold a few short keys.
const MAX_TOKEN: usize = 1_024;

/// How many rows to give; a negative size is noted in `wrong`.
pub fn page_size(asked: i32, wrong: &mut Violations) -> Option<u32> {
    match u32::try_from(asked) {
        Ok(0) => Some(DEFAULT_PAGE_SIZE),
        Ok(size) => Some(size.min(MAX_PAGE_SIZE)),
        Err(_) => {
            wrong.add("page_size", format!("must not be negative, is {asked}"));
            None
        }
    }
}

/// The token of a cursor.
///
/// # Panics
/// Never for cursors made of strings, numbers and tuples, structs or options of them, which is what keys are made of.
pub fn encode<C: Serialize>(cursor: &C) -> String {
    #[expect(clippy::expect_used, reason = "JSON can fail only for maps with odd keys, and a key is no map")]
    let json = serde_json::to_vec(cursor).expect("cursors are plain data");
    URL_SAFE_NO_PAD.encode(json)
}

/// The cursor of a token: `Some(None)` for the first page, `None` (noted in `wrong`) for a token that is not ours.
pub fn decode<C: DeserializeOwned>(token: &str, wrong: &mut Violations) -> Option<Option<C>> {
    if token.is_empty() {
        return Some(None);
    }
    let cursor = (token.len() <= MAX_TOKEN)
        .then(|| URL_SAFE_NO_PAD.decode(token).ok())
        .flatten()
        .and_then(|json| serde_json::from_slice(&json).ok());
    if cursor.is_none() {
        wrong.add("page_token", "is not a token that this list has given; start again without one");
    }
    cursor.map(Some)
}

/// Cuts a page out of rows that were read with one more than `size`, and gives the token of the next page: empty when
/// there is none.
pub fn cut<R, C: Serialize>(mut rows: Vec<R>, size: u32, cursor: impl FnOnce(&R) -> C) -> (Vec<R>, String) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let token = rows.last().filter(|_| more).map(|last| encode(&cursor(last))).unwrap_or_default();
    (rows, token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_a_strange_token_is_refused() {
        let mut wrong = Violations::default();
        let token = encode(&("2026-11-20", 7_u64));
        assert_eq!(decode(&token, &mut wrong), Some(Some(("2026-11-20".to_owned(), 7_u64))));
        assert_eq!(decode::<String>("", &mut wrong), Some(None));
        for strange in ["%%%", "bm90IGpzb24", token.as_str(), "A".repeat(2_000).as_str()] {
            assert_eq!(decode::<u64>(strange, &mut wrong), None, "{strange}");
        }
        assert_eq!(spillway_types::Fault::from(wrong).fields.len(), 4);
    }

    #[test]
    fn sizes_are_capped_and_negative_ones_refused() {
        let mut wrong = Violations::default();
        assert_eq!(page_size(0, &mut wrong), Some(50));
        assert_eq!(page_size(7, &mut wrong), Some(7));
        assert_eq!(page_size(i32::MAX, &mut wrong), Some(500));
        assert_eq!(page_size(-1, &mut wrong), None);
        assert_eq!(spillway_types::Fault::from(wrong).fields.len(), 1);
    }

    #[test]
    fn the_last_page_has_no_token() {
        let (rows, token) = cut(vec![1, 2, 3], 2, |row| *row);
        assert_eq!((rows, decode::<i32>(&token, &mut Violations::default())), (vec![1, 2], Some(Some(2))));
        assert_eq!(cut(vec![1, 2], 2, |row| *row), (vec![1, 2], String::new()));
        assert_eq!(cut(Vec::<i32>::new(), 2, |row| *row), (Vec::new(), String::new()));
    }
}
