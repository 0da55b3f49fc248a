//! What a saga's author writes: a saga, its steps, their compensations, and what each may answer.

use std::{any::Any, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use spillway_types::{Class, Fault, Reason, Timestamp};

use crate::context::{Call, Context};

/// A kind of saga. A change of its steps that running sagas would notice is a new type with a higher `VERSION`; both
/// stay registered until the last saga of the old one is finished.
pub trait Saga: Send + Sync + 'static {
    /// All that the steps ever need to know, stored before the first is sent. Compensations after a crash have nothing
    /// else, so every key that they need is in here or is the saga's id.
    type Input: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The name in the log.
    const NAME: &'static str;
    /// The version in the log.
    const VERSION: u32;
}

/// One call of a saga. The participant behind it keeps the six promises: above all, the same command twice has one effect
/// and one answer, since after a crash every step is run again.
#[async_trait]
pub trait Step<S: Saga>: Send + Sync + 'static {
    /// What later steps and the caller learn from it. Kept in the journal of the finished saga, so keep it small.
    type Output: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// The name in definitions, in the log and in front of operators.
    const NAME: &'static str;

    /// Makes the call, once. Retries are the engine's.
    async fn run(&self, cx: &Context<S>) -> Outcome<Self::Output>;
}

/// A step that can be undone until the pivot has passed.
#[async_trait]
pub trait Compensate<S: Saga>: Step<S> {
    /// Undoes the step, or leaves a tombstone if it never arrived. Total: it is called whether or not the step was run.
    async fn compensate(&self, cx: &Context<S>) -> Undo;
}

/// What a step answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It is done.
    Done(T),
    /// The participant refused for good, and will say the same for ever; or its gate refused a step's only attempt
    /// (`recorded=false` in the fault's metadata).
    Refused(Fault),
    /// It is begun, and somebody else (a buyer, a carrier) has to act until `due`. The saga leaves memory; when a signal
    /// comes or `due` passes, the step is run again to read how things stand. Still pending after `due`: turned back.
    Pending {
        /// Until when.
        due: Timestamp,
        /// What is known so far, such as where the buyer pays.
        output: T,
    },
    /// Nobody knows whether it is done: any error that is neither of the above. Asked again with the same key.
    Unknown(Unknown),
}

/// What a compensation answers. It cannot refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// It is undone, or a tombstone stands where it will never be done.
    Undone,
    /// Too late: the pivot has passed. Only the arbiter says so; the saga goes forward, without patience.
    PivotPassed,
    /// The compensation had a condition that does not hold any more (only if unpaid, and it was paid meanwhile): nothing
    /// was undone, the saga goes on as before. Only the arbiter says so.
    Stands,
    /// Nobody knows. Asked again until somebody does.
    Unknown(Unknown),
}

/// An outcome that only the owner of the data can turn into a definite one, by being asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What came instead of an answer.
    pub fault: Fault,
    /// Asking again soon gives the same: the saga is parked for eyes at once (and still retried now and then).
    pub permanent: bool,
}

/// A step's output, with its type erased.
pub(crate) type Stored = Arc<dyn Any + Send + Sync>;

/// A step with its types erased.
#[async_trait]
pub(crate) trait AnyStep: Send + Sync {
    async fn run(&self, call: Call) -> Outcome<Stored>;
    /// The output as JSON, for the journal.
    fn encode(&self, output: &Stored) -> Option<serde_json::Value>;
}

/// A compensation with its types erased.
#[async_trait]
pub(crate) trait AnyCompensation: Send + Sync {
    async fn compensate(&self, call: Call) -> Undo;
}

/// A step behind its erased form; the saga's type is known here, and nowhere in the engine.
pub(crate) struct Erased<S, T> {
    step: Arc<T>,
    saga: PhantomData<fn() -> S>,
}

// === impl Outcome ===

impl<T> Outcome<T> {
    /// Judges a participant's reply: which reasons are this step's business refusals is the step's to say; every other
    /// fault is unknown, and permanent when its class says that asking again gives the same.
    pub fn judge(reply: Result<T, Fault>, is_refusal: impl FnOnce(Reason) -> bool) -> Self {
        match reply {
            Ok(output) => Self::Done(output),
            Err(fault) if is_refusal(fault.reason) => Self::Refused(fault),
            Err(fault) => Self::Unknown(fault.into()),
        }
    }
}

impl<T> From<Unknown> for Outcome<T> {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(unknown)
    }
}

// === impl Undo ===

impl From<Unknown> for Undo {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(unknown)
    }
}

// === impl Unknown ===

impl Unknown {
    /// Worth asking again soon.
    pub fn passing(fault: Fault) -> Self {
        Self { fault, permanent: false }
    }

    /// Needs eyes.
    pub fn permanent(fault: Fault) -> Self {
        Self { fault, permanent: true }
    }
}

impl From<Fault> for Unknown {
    /// Permanent when the fault's class says that asking again gives the same.
    fn from(fault: Fault) -> Self {
        let permanent = fault.reason.class() == Class::Terminal;
        Self { fault, permanent }
    }
}

// === impl Erased ===

impl<S, T> Erased<S, T> {
    pub(crate) fn new(step: Arc<T>) -> Self {
        Self { step, saga: PhantomData }
    }
}

impl<S, T> fmt::Debug for Erased<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Erased")
    }
}

#[async_trait]
impl<S: Saga, T: Step<S>> AnyStep for Erased<S, T> {
    async fn run(&self, call: Call) -> Outcome<Stored> {
        let cx = match Context::<S>::new(call) {
            Ok(cx) => cx,
            Err(unknown) => return unknown.into(),
        };
        match self.step.run(&cx).await {
            Outcome::Done(output) => Outcome::Done(Arc::new(output)),
            Outcome::Refused(fault) => Outcome::Refused(fault),
            Outcome::Pending { due, output } => Outcome::Pending { due, output: Arc::new(output) },
            Outcome::Unknown(unknown) => Outcome::Unknown(unknown),
        }
    }

    fn encode(&self, output: &Stored) -> Option<serde_json::Value> {
        serde_json::to_value(output.downcast_ref::<T::Output>()?).ok()
    }
}

#[async_trait]
impl<S: Saga, T: Compensate<S>> AnyCompensation for Erased<S, T> {
    async fn compensate(&self, call: Call) -> Undo {
        match Context::<S>::new(call) {
            Ok(cx) => self.step.compensate(&cx).await,
            Err(unknown) => unknown.into(),
        }
    }
}
