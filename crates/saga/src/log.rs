//! What the engine asks of a durable log, and what a saga looks like in it: one row.

mod row;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spillway_types::{Fault, Timestamp, id::Partition};

pub use self::row::AT_ONCE;
use crate::{
    context::SagaId,
    plan::Kind,
    state::{Direction, End, Illegal, Status},
};

/// Durable storage of sagas: one row each, written two times when all goes well. Each method returns when its effect is
/// durable. A write that fails with [`LogError::Unavailable`] may have happened; it is repeated, and must then change
/// nothing more.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Inserts the row as it is, unless one with the same key is there, which is then returned as it is, whoever drives it.
    /// Where partitions are leased, the insert happens under the row's epoch or not at all ([`LogError::Fenced`]).
    async fn start(&self, row: SagaRow) -> Result<Started, LogError>;

    /// Applies a record to a row by [`SagaRow::apply`], atomically. Where partitions are leased, it happens under `epoch`
    /// or not at all ([`LogError::Fenced`]).
    async fn record(&self, id: SagaId, epoch: i64, record: Record, at: Timestamp) -> Result<(), LogError>;

    /// Leaves word for whoever drives a saga, by [`SagaRow::tell`], atomically; any process may. Answers the row as it is
    /// then, if there is one.
    async fn post(&self, id: SagaId, signal: Signal) -> Result<Option<SagaRow>, LogError>;

    /// Returns when some process may have left word. A hint: regular looks find what it missed.
    async fn posted(&self) {
        std::future::pending().await
    }

    /// Reads a row.
    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, LogError>;

    /// Reads several rows, in any order, without those that are not there.
    async fn load_all(&self, ids: &[SagaId]) -> Result<Vec<SagaRow>, LogError>;

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

/// Which sagas may need a driver: those of the given partitions that are
/// `RUNNING` or `COMPENSATING` with `updated <= quiet_since`, or
/// `PARKED` with `wakeup <= parked_until`, or
/// any of those, `WAITING` or `PAUSED`, with `wakeup <= waiting_until`,
/// ordered by `(created, id)`, after the given place.
#[derive(Clone, Debug)]
pub struct Due {
    /// Only sagas of these partitions; all when absent.
    pub partitions: Option<Vec<Partition>>,
    /// Sagas that wrote something since then have a driver, most likely. Absent, only those with a `wakeup` are asked for.
    pub quiet_since: Option<Timestamp>,
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
    /// The lease epoch under which it was started, or taken up again last. It never goes down.
    pub epoch: i64,
    /// Attempts beyond the first, by step and call.
    pub attempts: Vec<Attempts>,
    /// How often a driver took it up again: a saga that kills its driver shows here.
    pub drives: u32,
    /// When it was started.
    pub created: Timestamp,
    /// When its last record was written.
    pub updated: Timestamp,
    /// When to look at it again, while it is waiting or parked; [`AT_ONCE`] in any status when somebody left word.
    pub wakeup: Option<Timestamp>,
}

/// Word for whoever drives a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It is asked to turn back, for this cause.
    TurnBack(Fault),
    /// What it waits for may have come: a hint.
    Look,
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
    /// A driver has taken it up again. What it says is compared with the row: a driver that knows an older one is refused.
    Resumed {
        /// Which way it goes, as far as the driver knows.
        direction: Direction,
        /// The number of this drive; the first one, at the start, is 0.
        drive: u32,
    },
    /// Asked from afar to turn back, it is past the pivot: whoever asked is told, and it is not asked again.
    Onward,
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
