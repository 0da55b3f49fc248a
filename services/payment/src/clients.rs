//! The payment provider: a remote party behind a port of three calls.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::{Outcome, Task};

pub mod sandbox;

/// The provider did not answer: what it was asked may or may not have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment provider did not answer: {0}")]
pub struct Silence(pub String);

/// A payment provider. It does each task once, known by [`Task::reference`], however often it is asked.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Whether an instrument can be used at all.
    ///
    /// # Errors
    /// What is wrong with it, and what can be used instead.
    fn check(&self, instrument: &str) -> Result<(), String>;

    /// Does what is asked. A Void also ends an authorisation that arrives later under the same reference.
    async fn perform(&self, task: &Task) -> Result<Outcome, Silence>;

    /// What became of a task; `None` when it was never done and can be asked for (again).
    async fn lookup(&self, task: &Task) -> Result<Option<Outcome>, Silence>;
}

/// How long a payment's row may go unread before the provider is asked to do what it says: much longer than any call
/// takes, and much shorter than any provider forgets our references (24 hours, with those who do). So whoever was frozen
/// in between asks for nothing that others have long settled.
const LEAVE: Duration = Duration::from_secs(5 * 60);

/// Leave to ask the provider for something, given by the row that said it was still to be done.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    fresh: bool,
    given_at: Instant,
}

// === impl Leave ===

impl Leave {
    /// Leave by a row that was read after `given_at`. `fresh` says that this is the very first time of asking.
    pub const fn new(fresh: bool, given_at: Instant) -> Self {
        Self { fresh, given_at }
    }

    fn has_lapsed(self) -> bool {
        self.given_at.elapsed() > LEAVE
    }
}

/// Gets an answer for good, if the provider gives one within `patience` a call. It is looked up before anything is
/// created again, since a provider's own memory of our references may be shorter than ours.
///
/// The caller holds no connection and no transaction meanwhile.
///
/// # Errors
/// When the provider stays silent, or the leave to ask it has lapsed.
pub async fn ask(provider: &dyn Provider, task: &Task, leave: Leave, patience: Duration) -> Result<Outcome, Silence> {
    if !leave.fresh
        && let Some(outcome) = within(patience, provider.lookup(task)).await?
    {
        return Ok(outcome);
    }
    if leave.has_lapsed() {
        return Err(Silence(format!("nobody has looked for {LEAVE:?} whether it is still to be asked")));
    }
    match within(patience, provider.perform(task)).await {
        Ok(outcome) => Ok(outcome),
        Err(silence) => {
            tracing::warn!(reference = task.reference(), ask = ?task.ask, %silence, "looking up what became of it");
            within(patience, provider.lookup(task)).await?.ok_or(silence)
        }
    }
}

async fn within<T>(patience: Duration, call: impl Future<Output = Result<T, Silence>>) -> Result<T, Silence> {
    let silent = |_| Err(Silence(format!("no answer within {patience:?}")));
    tokio::time::timeout(patience, call).await.unwrap_or_else(silent)
}

#[cfg(test)]
mod tests;
