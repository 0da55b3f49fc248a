//! What can go wrong between a service and its database.

use std::time::Duration;

use spillway_types::{Fault, Reason};

/// When to come back after a full queue: some batches later.
const RETRY_AFTER: Duration = Duration::from_millis(100);

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
    /// Every connection for reading is in use, or the database takes no new ones.
    #[error("no connection is free")]
    Exhausted,
    /// The database has not done its work in time; nobody knows how far it came.
    #[error("the database did not answer within {limit:?}")]
    Slow {
        /// How long that was.
        limit: Duration,
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
            sqlx::Error::Database(error) if error.is_unique_violation() || is_rival(error.code().as_deref()) => {
                Self::Conflict(error.message().to_owned())
            }
            sqlx::Error::PoolTimedOut => Self::Exhausted,
            _ => Self::Database { doing, source },
        }
    }

    /// Whether the connection broke, so that nobody knows what came of the transaction on it. A new one may do better.
    pub fn is_lost_connection(&self) -> bool {
        match self {
            Self::Database { source: sqlx::Error::Io(_) | sqlx::Error::Protocol(_), .. } => true,
            Self::Database { source: sqlx::Error::Database(error), .. } => ended_by_server(error.code().as_deref()),
            _ => false,
        }
    }

    /// Wraps a parse error of stored data.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }
}

/// Postgres let the other one of two transactions win: serialisation failure or deadlock. Like a taken key, that is
/// decided again.
fn is_rival(code: Option<&str>) -> bool {
    matches!(code, Some("40001" | "40P01"))
}

/// Postgres ended the session (it shuts down, crashed, or the transaction idled for too long), as its SQLSTATE says.
fn ended_by_server(code: Option<&str>) -> bool {
    matches!(code, Some("57P01" | "57P02" | "57P03" | "25P03" | "25P02"))
        || code.is_some_and(|code| code.starts_with("08"))
}

impl From<StoreError> for Fault {
    /// What a caller hears. A full queue had no effect and says so; all the rest is an unknown outcome.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy { .. } => {
                Self::new(Reason::Shed, "too many writes are waiting; try again shortly").with_retry_after(RETRY_AFTER)
            }
            StoreError::Exhausted => {
                Self::new(Reason::Shed, "too many reads are waiting; try again shortly").with_retry_after(RETRY_AFTER)
            }
            StoreError::Stopped => Self::new(Reason::Draining, "the service is shutting down; try another replica"),
            StoreError::Conflict(_)
            | StoreError::Database { .. }
            | StoreError::Corrupt(_)
            | StoreError::Unfit(_)
            | StoreError::Slow { .. }
            | StoreError::Batch(_) => {
                tracing::error!(%error, "store failed");
                Self::internal()
            }
        }
    }
}
