//! What a saga has done and what it does next: a pure state machine, used alike when running and when recovering. The
//! driver only carries out what [`Progress::todo`] says and reports what came of it to [`Progress::apply`].
//!
//! ```text
//!                 refusal of the only first step
//!      Forward ─────────────────────────────────────────────► Refused ── finished(REFUSED)
//!       │  ▲ │
//!       │  │ │ refusal, patience, timer, request
//!       │  │ ▼          undone              logged
//!       │  Deciding ─────────────► Decided ────────► Backward ── finished(COMPENSATED)
//!       │ stands  │                   compensating
//!       │         │ pivot passed
//!       ▼ pivot   ▼
//!      ForwardOnly ── finished(COMPLETED)
//! ```
//!
//! Calls that are in flight when the saga turns back are dropped, not awaited: no answer of theirs could change what is
//! done next, since every compensatable step is compensated whether or not it was seen to start, and one that arrives
//! late meets its tombstone. So turning back never waits for a participant that does not answer.

mod answers;
#[cfg(test)]
mod tests;

use spillway_types::{Fault, Timestamp};

use crate::{
    context::{Cause, Trigger},
    log::{CallKind, SagaRow, StepState},
    plan::{Kind, Plan},
    state::{Direction, End, Status},
    step::Unknown,
};

/// Where a saga stands in memory.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    course: Course,
    phase: Phase,
    steps: Vec<StepProgress>,
    cause: Option<Cause>,
    /// Attempts of a call that no patience bounds, after which it counts as stuck.
    park_after: u32,
    /// This drive follows another one that may have sent anything.
    redriven: bool,
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Forward, and it can still turn back.
    Forward,
    /// The arbiter is being asked whether it can turn back.
    Deciding,
    /// The arbiter agreed; that is not durable yet.
    Decided,
    /// That is durable; the rest is being compensated.
    Backward,
    /// The pivot has passed: forward, without patience.
    ForwardOnly,
    /// The only first step refused; nothing else was ever sent.
    Refused,
}

/// What the log knows of the saga's being in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It runs.
    Active,
    /// It waits, durably; what it waits for is read once more, since a signal that came before was not yet owed.
    Rereading { due: Timestamp },
    /// It waits or is parked, durably, and leaves.
    Leaving,
    /// It was to leave, but there is something to do: the log hears of it first.
    Returning,
    /// It is finished, durably.
    Ended,
}

/// A step in memory.
#[derive(Clone, Debug, Default)]
struct StepProgress {
    run: CallProgress,
    compensation: CallProgress,
    last_error: Option<Fault>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// One of a step's two calls in memory.
#[derive(Clone, Debug, Default)]
struct CallProgress {
    standing: Standing,
    attempts: u32,
    /// Since when its outcome has been in doubt: its patience runs from here.
    since: Option<Timestamp>,
}

/// How a call stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Idle,
    InFlight,
    Retry {
        at: Timestamp,
    },
    Stuck,
    Pending {
        due: Timestamp,
    },
    Refused,
    Done,
}

/// A call to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Todo {
    pub(crate) step: usize,
    pub(crate) kind: CallKind,
    pub(crate) attempt: u32,
}

/// What the driver is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Make this durable, then say so by [`Event::Logged`].
    Write(Write),
    /// Make these calls, saying so by [`Event::Sent`].
    Call(Vec<Todo>),
    /// Wait for an answer, at the longest until then.
    Wait(Option<Timestamp>),
    /// Leave memory, or say [`Event::Stay`].
    Leave,
    /// Nothing: it is over.
    End,
}

/// What is to be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Resumed,
    /// The arbiter says that the pivot has passed, and whoever asked to turn back is far away.
    Onward,
    Compensating,
    Waiting {
        due: Timestamp,
    },
    /// On account of this step.
    Parked {
        step: usize,
    },
    Finished(End),
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A call was made.
    Sent { call: Todo, now: Timestamp },
    /// A step is done.
    Done { step: usize, now: Timestamp },
    /// A step refused.
    Refused { step: usize, fault: Fault, now: Timestamp },
    /// A step waits for somebody.
    Pending { step: usize, due: Timestamp, now: Timestamp },
    /// Nobody knows; a next attempt would be due at `retry_at`.
    Unknown { step: usize, kind: CallKind, unknown: Unknown, now: Timestamp, retry_at: Timestamp },
    /// A step is undone.
    Undone { step: usize, now: Timestamp },
    /// A compensation came after the pivot.
    PivotPassed { step: usize },
    /// A compensation's condition does not hold; what it would have undone is looked at again at `retry_at`.
    Stands { step: usize, retry_at: Timestamp },
    /// Somebody asks to turn back.
    TurnBack(Cause),
    /// Somebody says that what is waited for has come: whatever is not in flight is asked at once.
    Wake,
    /// It cannot leave: something has come in.
    Stay,
    /// A record is durable.
    Logged(Write),
}

// === impl Progress ===

impl Progress {
    /// A saga at its start.
    pub(crate) fn new(plan: &Plan, park_after: u32) -> Self {
        Self {
            course: Course::Forward,
            phase: Phase::Active,
            steps: vec![StepProgress::default(); plan.steps.len()],
            cause: None,
            park_after,
            redriven: false,
        }
    }

    /// A saga that another driver left, by whatever way: from its first step if it was going forward, on with the
    /// compensations if it had turned back.
    pub(crate) fn redriven(plan: &Plan, row: &SagaRow, park_after: u32) -> Self {
        let mut progress = Self { redriven: true, phase: Phase::Returning, ..Self::new(plan, park_after) };
        for (step, planned) in progress.steps.iter_mut().zip(&plan.steps) {
            for known in row.attempts.iter().filter(|known| known.step == planned.name) {
                let call = match known.call {
                    CallKind::Run => &mut step.run,
                    CallKind::Compensate => &mut step.compensation,
                };
                call.attempts = known.attempts;
                step.last_error.clone_from(&known.fault);
            }
        }
        let cause = || {
            // Only a request is remembered before the arbiter has agreed; afterwards no compensation is conditional.
            Some(Cause { trigger: Trigger::Request, fault: row.cause.clone().unwrap_or_else(Fault::internal) })
        };
        match row.direction {
            Direction::Forward => {}
            Direction::Turning => {
                progress.course = Course::Deciding;
                progress.cause = cause();
            }
            Direction::Backward => {
                progress.course = Course::Backward;
                progress.cause = cause();
                progress.steps[plan.arbiter].compensation.standing = Standing::Done;
            }
            Direction::Onward => progress.course = Course::ForwardOnly,
        }
        progress
    }

    pub(crate) fn course(&self) -> Course {
        self.course
    }

    /// Why it turns back.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// What it was asked for, if the arbiter has not agreed yet. Every other cause comes up again by itself when the saga is
    /// driven again; a request would be forgotten.
    pub(crate) fn request(&self) -> Option<&Fault> {
        let cause = self.cause.as_ref().filter(|cause| cause.trigger == Trigger::Request);
        cause.filter(|_| self.course == Course::Deciding).map(|cause| &cause.fault)
    }

    pub(crate) fn is_redriven(&self) -> bool {
        self.redriven
    }

    /// Whether the steps after which the caller can be answered are done.
    pub(crate) fn is_answerable(&self, plan: &Plan) -> bool {
        let done = |step: usize| self.steps[step].run.standing == Standing::Done;
        match plan.answer_after.as_slice() {
            [] => (0..self.steps.len()).all(done),
            steps => steps.iter().copied().all(done),
        }
    }

    /// How a step stands, for people.
    pub(crate) fn state(&self, step: usize) -> StepState {
        let StepProgress { run, compensation, .. } = &self.steps[step];
        let told = if compensation.standing == Standing::Idle { run } else { compensation };
        match told.standing {
            Standing::Idle => StepState::Idle,
            Standing::InFlight => StepState::InFlight,
            Standing::Retry { .. } => StepState::Retrying,
            Standing::Stuck => StepState::Stuck,
            Standing::Pending { .. } => StepState::Pending,
            Standing::Refused => StepState::Refused,
            Standing::Done if compensation.standing == Standing::Done => StepState::Undone,
            Standing::Done => StepState::Done,
        }
    }

    /// How often a step was tried, its compensation included.
    pub(crate) fn attempts(&self, step: usize) -> u32 {
        self.steps[step].run.attempts.saturating_add(self.steps[step].compensation.attempts)
    }

    pub(crate) fn last_error(&self, step: usize) -> Option<&Fault> {
        self.steps[step].last_error.as_ref()
    }

    /// When a step was first sent, and when its definite answer came.
    pub(crate) fn times(&self, step: usize) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.steps[step].started, self.steps[step].ended)
    }

    /// What to do next.
    pub(crate) fn todo(&self, plan: &Plan, now: Timestamp) -> Next {
        match self.phase {
            Phase::Returning => return Next::Write(Write::Resumed),
            Phase::Leaving => return Next::Leave,
            Phase::Ended => return Next::End,
            Phase::Active | Phase::Rereading { .. } => {}
        }
        match self.course {
            Course::Refused => return Next::Write(Write::Finished(End::Refused)),
            Course::Decided => return Next::Write(Write::Compensating),
            Course::Backward if plan.compensatable().all(|step| self.is_undone(step)) => {
                return Next::Write(Write::Finished(End::Compensated));
            }
            Course::Forward | Course::ForwardOnly if self.steps.iter().all(|s| s.run.standing == Standing::Done) => {
                return Next::Write(Write::Finished(End::Completed));
            }
            Course::Forward | Course::ForwardOnly | Course::Deciding | Course::Backward => {}
        }
        let open: Vec<_> = self.open_calls(plan).collect();
        let ready = |(step, kind): &(usize, CallKind)| {
            let call = self.call(*step, *kind);
            let is_due = match call.standing {
                Standing::Idle => true,
                Standing::Retry { at } => at <= now,
                _ => false,
            };
            is_due.then(|| Todo { step: *step, kind: *kind, attempt: call.attempts.saturating_add(1) })
        };
        let calls: Vec<_> = open.iter().filter_map(ready).collect();
        if !calls.is_empty() {
            return Next::Call(calls);
        }
        let standings = || open.iter().map(|(step, kind)| self.call(*step, *kind).standing);
        let retries = standings().filter_map(|standing| match standing {
            Standing::Retry { at } => Some(at),
            _ => None,
        });
        let until = retries.min();
        if until.is_some() || standings().any(|standing| standing == Standing::InFlight) {
            return Next::Wait(until);
        }
        self.leave(plan, &open)
    }

    /// Nothing moves any more until something comes from outside: what the log is to know before the saga leaves.
    fn leave(&self, plan: &Plan, open: &[(usize, CallKind)]) -> Next {
        let stuck = open.iter().find(|(step, kind)| self.call(*step, *kind).standing == Standing::Stuck);
        let pending = open.iter().filter_map(|(step, kind)| match self.call(*step, *kind).standing {
            Standing::Pending { due } => Some(due),
            _ => None,
        });
        match (stuck, pending.min()) {
            (None, Some(due)) if self.phase == (Phase::Rereading { due }) => Next::Leave,
            (None, Some(due)) => Next::Write(Write::Waiting { due }),
            (Some((step, _)), _) => Next::Write(Write::Parked { step: *step }),
            // Cannot be: an acyclic plan has a call that is ready, in flight, stuck or pending until all are done. Were
            // it so, somebody should look.
            (None, None) => Next::Write(Write::Parked { step: plan.arbiter }),
        }
    }

    /// The calls that the course allows and that have no definite answer yet.
    fn open_calls<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (usize, CallKind)> + 'a {
        let is_open = move |step: &usize| match self.course {
            Course::Forward | Course::ForwardOnly => {
                let before = &plan.steps[*step].after;
                self.steps[*step].run.standing != Standing::Done
                    && before.iter().all(|earlier| self.steps[*earlier].run.standing == Standing::Done)
            }
            Course::Deciding => *step == plan.arbiter,
            Course::Backward => {
                let holds_back = |later: usize| !self.is_undone(later) && plan.steps[later].ancestors.contains(step);
                plan.steps[*step].kind == Kind::Compensatable
                    && !self.is_undone(*step)
                    && !plan.compensatable().any(holds_back)
            }
            Course::Decided | Course::Refused => false,
        };
        let kind = match self.course {
            Course::Forward | Course::ForwardOnly | Course::Refused => CallKind::Run,
            Course::Deciding | Course::Decided | Course::Backward => CallKind::Compensate,
        };
        (0..self.steps.len()).filter(is_open).map(move |step| (step, kind))
    }

    fn is_undone(&self, step: usize) -> bool {
        self.steps[step].compensation.standing == Standing::Done
    }

    fn call(&self, step: usize, kind: CallKind) -> &CallProgress {
        match kind {
            CallKind::Run => &self.steps[step].run,
            CallKind::Compensate => &self.steps[step].compensation,
        }
    }
}

// === impl Write ===

impl Write {
    /// The status that the log has afterwards.
    pub(crate) fn status(&self, course: Course) -> Status {
        match self {
            Self::Resumed if course == Course::Backward => Status::Compensating,
            Self::Resumed | Self::Onward => Status::Running,
            Self::Compensating => Status::Compensating,
            Self::Waiting { .. } => Status::Waiting,
            Self::Parked { .. } => Status::Parked,
            Self::Finished(end) => end.status(),
        }
    }
}
