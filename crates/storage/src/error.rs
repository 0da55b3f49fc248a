//! What can go wrong between a service and its database.

use spillway_types::{Fault, Reason};

/// A failure of the store. None of these is a business refusal: after each, the outcome is unknown to the caller until
/// it asks again with the same key.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row that was absent at load was there at save: another writer was first. The batch is loaded and decided again.
    #[error("another writer was first: {0}")]
    Conflict(String),
    /// The database did not do what it was asked to do.
    #[error("{doing}: {source}")]
    Database {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        source: sqlx::Error,
    },
    /// A stored row does not read as what it must be.
    #[error("stored data is not readable: {0}")]
    Corrupt(String),
    /// The file or its engine is not fit for use.
    #[error("{0}")]
    Unfit(String),
    /// More is waiting than the queue holds.
    #[error("the write queue is full ({limit} waiting)")]
    Busy {
        /// The queue's bound, in commands.
        limit: usize,
    },
    /// The worker has stopped.
    #[error("the writer has stopped")]
    Stopped,
    /// The batch this command was in failed.
    #[error("the batch failed: {0}")]
    Batch(String),
}

// === impl StoreError ===

impl StoreError {
    /// Wraps a driver's error with what was being done; a violated key becomes [`StoreError::Conflict`].
    pub fn database(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match &source {
            sqlx::Error::Database(error) if error.is_unique_violation() => Self::Conflict(error.message().to_owned()),
            _ => Self::Database { doing, source },
        }
    }

    /// Wraps a parse error of stored data.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }
}

impl From<StoreError> for Fault {
    /// What a caller hears. A full queue had no effect and says so; all the rest is an unknown outcome.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy { .. } => Self::new(Reason::Shed, "too many writes are waiting; try again shortly")
                .with_retry_after(std::time::Duration::from_millis(100)),
            StoreError::Stopped => Self::new(Reason::Draining, "the service is shutting down; try another replica"),
            StoreError::Conflict(_)
            | StoreError::Database { .. }
            | StoreError::Corrupt(_)
            | StoreError::Unfit(_)
            | StoreError::Batch(_) => {
                tracing::error!(%error, "store failed");
                Self::internal()
            }
        }
    }
}
