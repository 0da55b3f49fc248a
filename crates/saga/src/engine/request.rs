//! What an engine is told and what it answers.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use spillway_types::{Fault, Reason};

use super::Handle;
use crate::{context::SagaId, log::LogError, step::Saga};

/// Limits of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// How many sagas may be in memory; above it, new ones are refused before anything is written. A saga takes a few
    /// KiB, so 10,000 take some tens of MiB; at 50 ms a saga they are 200,000 a second, more than any log takes.
    pub active_max: usize,
    /// The pause between two looks at the log for sagas that nobody drives.
    pub scan_interval: Duration,
    /// How long a saga's row must have been quiet before a scan looks whether it has a driver.
    pub quiet_for: Duration,
    /// How many sagas recovery takes up in a second, so that participants which just came back are not knocked down.
    pub resume_per_second: u32,
    /// How many attempts of a call that no patience bounds may fail before the saga is parked.
    pub park_after: u32,
    /// The pause before a parked saga is tried again.
    pub parked_retry: Duration,
    /// How long a shutdown waits for calls in flight.
    pub drain: Duration,
    /// Seed of the jitter, so that a test can repeat a run.
    pub seed: u64,
}

/// A saga to be started.
pub struct NewSaga {
    pub(super) id: SagaId,
    pub(super) key: String,
    pub(super) fingerprint: Vec<u8>,
    pub(super) definition: (&'static str, u32),
    pub(super) json: String,
    pub(super) input: Arc<dyn Any + Send + Sync>,
}

/// A saga that was started now or before.
#[derive(Debug)]
pub struct Started {
    /// The saga that has the key.
    pub handle: Handle,
    /// The fingerprint of the request that has the key. When it is not the caller's, the key was reused.
    pub fingerprint: Vec<u8>,
    /// Whether the key was taken before.
    pub is_repeat: bool,
}

/// Why a saga was not started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// Too many sagas are in memory. Nothing was written.
    #[error("too many sagas are in flight")]
    Busy,
    /// The engine is shutting down. Nothing was written.
    #[error("the engine is shutting down")]
    Draining,
    /// Sagas of its partition are not this process's to start, or not any more. Nothing was written.
    #[error("another process drives sagas of this partition")]
    NotOwner,
    /// No such definition was registered. Nothing was written.
    #[error("no definition {0} version {1} is registered")]
    UnknownDefinition(&'static str, u32),
    /// The log failed; the saga may have been started. The same key finds out.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why a saga could not be looked up or told something.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such saga.
    #[error("there is no saga {0}")]
    NotFound(SagaId),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Draining,
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

// === impl EngineConfig ===

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            active_max: 10_000,
            scan_interval: Duration::from_secs(2),
            quiet_for: Duration::from_secs(5),
            resume_per_second: 2_000,
            park_after: 8,
            parked_retry: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            seed: 0,
        }
    }
}

// === impl NewSaga ===

impl NewSaga {
    /// A saga of kind `S`. `key` is the caller's idempotency key with its scope, `fingerprint` the request condensed.
    ///
    /// # Errors
    /// When the input cannot be written as JSON.
    pub fn new<S: Saga>(
        id: SagaId,
        key: impl Into<String>,
        fingerprint: impl Into<Vec<u8>>,
        input: S::Input,
    ) -> Result<Self, serde_json::Error> {
        let json = serde_json::to_string(&input)?;
        let (key, fingerprint, definition) = (key.into(), fingerprint.into(), (S::NAME, S::VERSION));
        Ok(Self { id, key, fingerprint, definition, json, input: Arc::new(input) })
    }
}

impl fmt::Debug for NewSaga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSaga").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

// === impl StartError, EngineError ===

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Busy => Self::new(Reason::Shed, "too many orders are being placed at this moment; try again")
                .with_retry_after(BUSY_RETRY_AFTER),
            StartError::Draining => draining(),
            StartError::NotOwner => not_owner(),
            StartError::UnknownDefinition(..) | StartError::Log(_) => Self::internal(),
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound(id) => Self::not_found("saga", id),
            EngineError::Draining => draining(),
            EngineError::Log(_) => Self::internal(),
        }
    }
}

/// A full engine has room again within about this time, since most sagas take less.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Partitions change hands within about this time.
const NOT_OWNER_RETRY_AFTER: Duration = Duration::from_millis(200);

fn not_owner() -> Fault {
    Fault::new(Reason::Draining, "this replica may not start orders at this moment; another one may")
        .with_retry_after(NOT_OWNER_RETRY_AFTER)
}

fn draining() -> Fault {
    Fault::new(Reason::Draining, "this process is shutting down; try again").with_retry_after(Duration::ZERO)
}
