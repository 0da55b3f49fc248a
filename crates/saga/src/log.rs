//! What the engine asks of a durable log, and what a saga looks like in it: one row.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spillway_types::{Fault, Timestamp};

use crate::{
    context::SagaId,
    plan::Kind,
    state::{Direction, End, Event, Illegal, Status, next},
};

/// Durable storage of sagas: one row each, written two times when all goes well. Each method returns when its effect is
/// durable. A write that fails with [`LogError::Unavailable`] may have happened; it is repeated, and must then change
/// nothing more.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Inserts the row as it is, unless one with the same key is there, which is then returned as it is.
    async fn start(&self, row: SagaRow) -> Result<Started, LogError>;

    /// Applies a record to a row by [`SagaRow::apply`], atomically.
    async fn record(&self, id: SagaId, record: Record, at: Timestamp) -> Result<(), LogError>;

    /// Reads a row.
    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, LogError>;

    /// Reads a row by its caller's key.
    async fn find(&self, key: &str) -> Result<Option<SagaRow>, LogError>;

    /// Reads sagas that may need a driver, oldest first, a page at a time.
    async fn due(&self, query: Due) -> Result<Vec<SagaRow>, LogError>;

    /// Lists sagas for people, newest first, a page at a time.
    async fn list(&self, query: Listing) -> Result<Vec<SagaRow>, LogError>;
}

/// What starting a saga found.
#[derive(Clone, Debug)]
pub enum Started {
    /// The row is new.
    New,
    /// The key was taken before; this is the row that has it.
    Existing(Box<SagaRow>),
}

/// Why the log did not do as it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It may or may not have happened; say it again.
    #[error("the saga log is not available: {0}")]
    Unavailable(String),
    /// Another process drives this saga now: stop.
    #[error("another process drives saga {0}")]
    Fenced(SagaId),
    /// There is no such saga.
    #[error("there is no saga {0} in the log")]
    Missing(SagaId),
    /// The saga stands elsewhere than the writer thought: stop.
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

/// Which sagas may need a driver: those that are
/// `RUNNING` or `COMPENSATING` with `updated <= quiet_since`, or
/// `WAITING` with `wakeup <= waiting_until`, or
/// `PARKED` with `wakeup <= parked_until`,
/// ordered by `(created, id)`, after the given place.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Sagas that wrote something since then have a driver, most likely.
    pub quiet_since: Timestamp,
    /// Timers up to then have come.
    pub waiting_until: Timestamp,
    /// Parked sagas that are to be looked at until then are looked at now.
    pub parked_until: Timestamp,
    /// Where the page before ended.
    pub after: Option<(Timestamp, SagaId)>,
    /// How many at most.
    pub limit: u32,
}

/// Which sagas to list, newest first by `(created, id)`.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Only those with one of these statuses; all when empty.
    pub statuses: Vec<Status>,
    /// Only those older than this place.
    pub before: Option<(Timestamp, SagaId)>,
    /// How many at most.
    pub limit: u32,
}

/// A saga as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaRow {
    /// Its id.
    pub id: SagaId,
    /// The caller's idempotency key, with its scope. Unique.
    pub key: String,
    /// What the caller asked for, condensed; a repeat of the key is compared with it.
    pub fingerprint: Vec<u8>,
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// The input as JSON.
    pub input: String,
    /// Where it stands.
    pub status: Status,
    /// Which way it goes when it is taken up again.
    pub direction: Direction,
    /// Why it turns or turned back, or was refused.
    pub cause: Option<Fault>,
    /// Why it is parked.
    pub parked: Option<Fault>,
    /// How it went, once it is finished.
    pub journal: Option<Journal>,
    /// The lease epoch under which it was started.
    pub epoch: i64,
    /// Attempts beyond the first, by step and call.
    pub attempts: Vec<Attempts>,
    /// How often a driver took it up again: a saga that kills its driver shows here.
    pub drives: u32,
    /// When it was started.
    pub created: Timestamp,
    /// When its last record was written.
    pub updated: Timestamp,
    /// When to look at it again, while it is waiting or parked.
    pub wakeup: Option<Timestamp>,
}

/// The two calls of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CallKind {
    /// Forward.
    Run,
    /// Its compensation.
    Compensate,
}

/// How often a call was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The step's name.
    pub step: String,
    /// Which of its calls.
    pub call: CallKind,
    /// The number of the attempt that was about to be made.
    pub attempts: u32,
    /// What the one before it came to.
    pub fault: Option<Fault>,
}

/// What is written of a saga after its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A call is about to be tried again. Written from the second attempt on.
    Attempt(Attempts),
    /// It turns back: the arbiter agreed.
    Compensating {
        /// Why.
        cause: Fault,
    },
    /// It leaves memory until something comes, at the latest until `due`.
    Waiting {
        /// The timer.
        due: Timestamp,
    },
    /// It leaves memory because it needs eyes.
    Parked {
        /// Which step met what.
        reason: Fault,
        /// When to try again.
        wakeup: Timestamp,
        /// What was asked for, when it was parked while it turned back on request, before the arbiter had agreed.
        turning: Option<Fault>,
    },
    /// A driver has taken it up again.
    Resumed,
    /// It ended.
    Finished {
        /// How.
        end: End,
        /// Why, when it was refused.
        cause: Option<Fault>,
        /// How it went.
        journal: Journal,
    },
}

/// How a finished saga went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// A line a step that was sent: of a saga that was refused at once, that is one.
    pub steps: Vec<JournalStep>,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStep {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// How it stands.
    pub state: StepState,
    /// How often it was tried, its compensation included.
    pub attempts: u32,
    /// The last answer that was not a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Fault>,
    /// When it was first sent by the driver that finished the saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When its definite answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<serde_json::Value>,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepState {
    /// Not sent by this driver.
    Idle,
    /// Sent, no answer yet.
    InFlight,
    /// The outcome is unknown; it will be asked again soon.
    Retrying,
    /// The outcome is unknown, and asking again soon is of no use.
    Stuck,
    /// Begun; somebody else has to act.
    Pending,
    /// It refused.
    Refused,
    /// Done.
    Done,
    /// Undone, or a tombstone stands.
    Undone,
}

// === impl SagaRow ===

impl SagaRow {
    /// Applies a record: the one place that knows what each changes, whatever the log is made of.
    ///
    /// # Errors
    /// When the record cannot follow where the saga stands; the row is as it was then.
    pub fn apply(&mut self, record: Record, at: Timestamp) -> Result<(), Illegal> {
        self.status = next(self.status, record.event(self.direction))?;
        self.updated = at;
        match record {
            Record::Attempt(attempt) => {
                self.attempts.retain(|known| (&known.step, known.call) != (&attempt.step, attempt.call));
                self.attempts.push(attempt);
            }
            Record::Compensating { cause } => {
                self.direction = Direction::Backward;
                self.cause = Some(cause);
            }
            Record::Waiting { due } => self.wakeup = Some(due),
            Record::Parked { reason, wakeup, turning } => {
                self.parked = Some(reason);
                self.wakeup = Some(wakeup);
                if let Some(cause) = turning {
                    self.direction = Direction::Turning;
                    self.cause = Some(cause);
                } else if self.direction == Direction::Turning {
                    // The arbiter has answered since: the pivot has passed.
                    self.direction = Direction::Forward;
                    self.cause = None;
                }
            }
            Record::Resumed => {
                self.parked = None;
                self.wakeup = None;
                self.drives = self.drives.saturating_add(1);
            }
            Record::Finished { end, cause, journal } => {
                self.cause = match end {
                    End::Completed => None,
                    End::Refused => cause,
                    End::Compensated => self.cause.take(),
                };
                self.journal = Some(journal);
            }
        }
        Ok(())
    }
}

// === impl Record ===

impl Record {
    /// What it means to the state machine, for a saga that goes in `direction`.
    pub fn event(&self, direction: Direction) -> Event {
        match self {
            Self::Attempt(_) => Event::Attempted,
            Self::Compensating { .. } => Event::Compensating,
            Self::Waiting { .. } => Event::Waiting,
            Self::Parked { .. } => Event::Parked,
            Self::Resumed => Event::Resumed(direction),
            Self::Finished { end, .. } => Event::Finished(*end),
        }
    }
}

// === impl Due ===

impl Due {
    /// Whether a row is among those asked for, the page aside.
    pub fn includes(&self, row: &SagaRow) -> bool {
        match row.status {
            Status::Running | Status::Compensating => row.updated <= self.quiet_since,
            Status::Waiting => row.wakeup.is_none_or(|wakeup| wakeup <= self.waiting_until),
            Status::Parked => row.wakeup.is_none_or(|wakeup| wakeup <= self.parked_until),
            Status::Paused | Status::Completed | Status::Refused | Status::Compensated => false,
        }
    }
}
