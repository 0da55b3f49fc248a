//! What a step sees when it is called.

use std::{any::Any, fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use spillway_types::{Fault, id::Partition};
use uuid::Uuid;

use crate::step::{Saga, Step, Stored, Unknown};

/// A saga's name in the log; the saga that places an order carries the order's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SagaId(pub Uuid);

/// What a step or a compensation may know.
pub struct Context<S: Saga> {
    input: Arc<S::Input>,
    call: Call,
}

/// Why a saga turns back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What set it off.
    pub trigger: Trigger,
    /// What the caller is told.
    pub fault: Fault,
}

/// What set off the turning back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A step refused.
    Refusal,
    /// A step's outcome stayed unknown for longer than its patience.
    Patience,
    /// What a step waited for did not come in time. A compensation may be conditional on that still being so.
    Timer,
    /// A caller or an operator asked for it.
    Request,
}

/// One call with its types erased.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) id: SagaId,
    pub(crate) input: Arc<dyn Any + Send + Sync>,
    /// Outputs that this step may see, by the name of the step that gave them.
    pub(crate) outputs: Vec<(&'static str, Stored)>,
    pub(crate) attempt: u32,
    pub(crate) redriven: bool,
    pub(crate) cause: Option<Cause>,
    pub(crate) timeout: Duration,
}

// === impl SagaId ===

impl SagaId {
    /// The group of sagas that it is driven with: the tenth byte, where ids of orders have eight random bits.
    pub const fn partition(self) -> Partition {
        Partition(self.0.as_bytes()[9])
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for SagaId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

// === impl Context ===

impl<S: Saga> Context<S> {
    pub(crate) fn new(call: Call) -> Result<Self, Unknown> {
        match Arc::clone(&call.input).downcast::<S::Input>() {
            Ok(input) => Ok(Self { input, call }),
            // A definition is looked up by the saga's name and version, so this is a slip of whoever reused a name.
            Err(_) => Err(Unknown::permanent(Fault::internal())),
        }
    }

    /// The saga's id.
    pub fn id(&self) -> SagaId {
        self.call.id
    }

    /// What the saga was started with.
    pub fn input(&self) -> &S::Input {
        &self.input
    }

    /// The output of a step that this one is ordered after; it is always there when a step runs. A compensation may find
    /// nothing, since outputs do not survive a crash: it must do with the input.
    pub fn output<T: Step<S>>(&self) -> Option<&T::Output> {
        let (_, output) = self.call.outputs.iter().find(|(name, _)| *name == T::NAME)?;
        output.downcast_ref()
    }

    /// The output of a step that this one is ordered after.
    ///
    /// # Errors
    /// When the definition does not order this step after `T`: what to answer then.
    pub fn require<T: Step<S>>(&self) -> Result<&T::Output, Unknown> {
        self.output::<T>().ok_or_else(|| Unknown::permanent(Fault::internal().with("missing_output", T::NAME)))
    }

    /// The number of this attempt: 1 is the first that is known of.
    pub fn attempt(&self) -> u32 {
        self.call.attempt
    }

    /// Whether this call may have been made before: a later attempt, or any attempt after a crash. A participant's gate
    /// must let it through to the record.
    pub fn redriven(&self) -> bool {
        self.call.redriven || self.call.attempt > 1
    }

    /// Why the saga turns back; only compensations have it.
    pub fn cause(&self) -> Option<&Cause> {
        self.call.cause.as_ref()
    }

    /// How long this attempt may take.
    pub fn timeout(&self) -> Duration {
        self.call.timeout
    }
}

impl<S: Saga> fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.call.id)
            .field("attempt", &self.call.attempt)
            .field("redriven", &self.redriven())
            .field("cause", &self.call.cause)
            .finish_non_exhaustive()
    }
}
