//! Parts of a saga as the text that columns hold, whatever the database.

use serde::{Serialize, de::DeserializeOwned};
use spillway_saga::SagaRow;
use spillway_storage::StoreError;

/// A value as JSON.
pub(super) fn stored<T: Serialize>(value: Option<&T>) -> Result<Option<String>, StoreError> {
    value.map(serde_json::to_string).transpose().map_err(StoreError::corrupt)
}

pub(super) fn parsed<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, StoreError> {
    text.map(serde_json::from_str).transpose().map_err(StoreError::corrupt)
}

/// The name that serde gives to a unit variant.
pub(super) fn name<T: Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        Ok(other) => Err(StoreError::corrupt(format!("{other} is no name"))),
        Err(error) => Err(StoreError::corrupt(error)),
    }
}

pub(super) fn named<T: DeserializeOwned>(text: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(StoreError::corrupt)
}

/// Fingerprints are text by now: a version and a hash in hexadecimal.
pub(super) fn fingerprint(row: &SagaRow) -> Result<String, StoreError> {
    String::from_utf8(row.fingerprint.clone()).map_err(StoreError::corrupt)
}
