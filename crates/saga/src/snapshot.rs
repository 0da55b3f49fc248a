//! A saga as it is seen from outside, at one moment.

use std::{borrow::Cow, fmt};

use spillway_types::{Fault, Timestamp};

use crate::{
    context::SagaId,
    log::{SagaRow, StepState},
    plan::Kind,
    state::{Direction, Status},
    step::{Saga, Step, Stored},
};

/// A saga at one moment. What it says of the status is durable.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: SagaId,
    /// Where it stands in the log.
    pub status: Status,
    /// Which way it will end.
    pub fate: Fate,
    /// Whether the steps after which the caller can be answered are done.
    pub answerable: bool,
    /// Why it was refused or turned back, once that is durable.
    pub cause: Option<Fault>,
    /// Why it is parked.
    pub parked: Option<Fault>,
    /// When it will be looked at again, while it is waiting or parked.
    pub wakeup: Option<Timestamp>,
    /// Its steps, in the order of the definition; none when it is out of memory and unfinished.
    pub steps: Vec<StepView>,
}

/// Which way a saga will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Not decided.
    Open,
    /// The pivot has passed: it will be completed.
    Forward,
    /// It was refused or has turned back, durably.
    Back,
}

/// A step at one moment.
#[derive(Clone)]
pub struct StepView {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its kind.
    pub kind: Kind,
    /// How it stands.
    pub state: StepState,
    /// How often it was tried, its compensation included.
    pub attempts: u32,
    /// The last answer that was not a success.
    pub last_error: Option<Fault>,
    pub(crate) output: Option<Output>,
}

/// An output, as it came or as the journal has it.
#[derive(Clone)]
pub(crate) enum Output {
    Live(Stored),
    Json(serde_json::Value),
}

// === impl Snapshot ===

impl Snapshot {
    /// A saga of which nothing is known yet but that it exists.
    pub(crate) fn unsent(id: SagaId, status: Status) -> Self {
        let fate = Fate::Open;
        Self { id, status, fate, answerable: false, cause: None, parked: None, wakeup: None, steps: Vec::new() }
    }

    /// What a saga that is out of memory looks like.
    pub fn of_row(row: &SagaRow) -> Self {
        let fate = match row.status {
            Status::Completed => Fate::Forward,
            Status::Refused | Status::Compensating | Status::Compensated => Fate::Back,
            Status::Running | Status::Waiting | Status::Parked | Status::Paused => match row.direction {
                Direction::Backward => Fate::Back,
                Direction::Onward => Fate::Forward,
                Direction::Forward | Direction::Turning => Fate::Open,
            },
        };
        let journal = row.journal.iter().flat_map(|journal| &journal.steps);
        let steps = journal.map(|step| StepView {
            name: Cow::Owned(step.name.clone()),
            kind: step.kind,
            state: step.state,
            attempts: step.attempts,
            last_error: step.last_error.clone(),
            output: step.output.clone().map(Output::Json),
        });
        Self {
            id: row.id,
            status: row.status,
            fate,
            answerable: row.status == Status::Completed,
            cause: row.cause.clone().filter(|_| fate == Fate::Back),
            parked: row.parked.clone(),
            wakeup: row.wakeup,
            steps: steps.collect(),
        }
    }

    /// Whether the caller can be told how it stands: its part is done, or refused for certain, or waits for somebody.
    pub fn is_decided(&self) -> bool {
        self.answerable || self.fate == Fate::Back || self.status == Status::Waiting || self.status.is_final()
    }

    /// What a step gave; of a pending one, what is known so far. Write `output::<_, MyStep>()`.
    pub fn output<S: Saga, T: Step<S>>(&self) -> Option<T::Output> {
        match self.steps.iter().find(|step| step.name == T::NAME)?.output.as_ref()? {
            Output::Live(output) => output.downcast_ref::<T::Output>().cloned(),
            Output::Json(json) => serde_json::from_value(json.clone()).ok(),
        }
    }
}

impl fmt::Debug for StepView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepView")
            .field("name", &self.name)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
