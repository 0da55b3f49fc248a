//! Values that every backend stores alike.

use std::{fmt::Display, str::FromStr};

use spillway_storage::StoreError;
use spillway_types::{Fault, Timestamp};

pub(super) fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(StoreError::corrupt)
}

pub(super) fn moment(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

/// A recorded refusal, from JSON.
pub(super) fn fault(text: Option<&str>) -> Result<Option<Fault>, StoreError> {
    text.map(serde_json::from_str).transpose().map_err(StoreError::corrupt)
}

/// A recorded refusal, as JSON.
pub(super) fn fault_text(fault: Option<&Fault>) -> Result<Option<String>, StoreError> {
    fault.map(serde_json::to_string).transpose().map_err(StoreError::corrupt)
}
