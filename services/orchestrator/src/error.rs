//! Why the service could not start.

use spillway_runtime::channel::BadAddress;
use spillway_saga::DefinitionError;
use spillway_storage::StoreError;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The saga log cannot be opened.
    #[error("saga log: {0}")]
    Store(#[from] StoreError),
    /// A participant's address is none.
    #[error("peers: {0}")]
    Peer(#[from] BadAddress),
    /// A saga is not sound.
    #[error("place_order: {0}")]
    Definition(#[from] DefinitionError),
}
