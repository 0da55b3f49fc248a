//! Why the service cannot start. What callers hear is a [`Fault`](spillway_types::Fault), which the middleware turns
//! into a status.

use spillway_runtime::server::ServeError;
use spillway_storage::StoreError;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its store, or the sandbox's, cannot be opened.
    #[error("the payment service's store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// Its server cannot be built.
    #[error("the payment service cannot serve: {0}")]
    Serve(#[from] ServeError),
}
