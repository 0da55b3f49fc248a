//! Making calls and judging what comes back.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use spillway_types::{Fault, Reason, Timestamp};
use tokio::time::timeout;
use tracing::error;

use super::{Driver, Lost};
use crate::{
    context::Call,
    definition::Definition,
    log::{Attempts, CallKind, Log, LogError, Record},
    progress::{Course, Event, Todo},
    state::Status,
    step::{Outcome, Stored, Undo, Unknown},
};

/// A call that has ended.
pub(super) struct Answered {
    call: Todo,
    answer: Answer,
}

enum Answer {
    Run(Outcome<Stored>),
    Compensate(Undo),
    Unknown(Unknown),
    /// The log says that somebody else drives the saga.
    Fenced,
}

/// What it takes to note an attempt in the log before it is made.
struct Note {
    log: Arc<dyn Log>,
    epoch: i64,
    record: Record,
    at: Timestamp,
}

// === impl Driver ===

impl Driver {
    /// A call as a future that answers whatever happens: in time, late, or by a panic.
    pub(super) fn prepare(&self, todo: Todo) -> BoxFuture<'static, Answered> {
        let definition = Arc::clone(&self.definition);
        let limit = self.definition.plan.steps[todo.step].policy.attempt_timeout;
        let call = self.call(todo, limit);
        let note = self.note(todo);
        Box::pin(async move {
            let made = AssertUnwindSafe(make(definition, todo, call, note)).catch_unwind();
            let answer = match timeout(limit, made).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_panic)) => Answer::Unknown(Unknown::permanent(Fault::internal().with("panicked", "true"))),
                Err(_elapsed) => Answer::Unknown(Unknown::passing(Fault::new(
                    Reason::DeadlineExceeded,
                    format!("no answer within {limit:?}"),
                ))),
            };
            Answered { call: todo, answer }
        })
    }

    /// Takes in an answer.
    pub(super) fn take_in(&mut self, answered: Answered) -> Result<(), Lost> {
        let Answered { call, answer } = answered;
        let (step, now) = (call.step, self.now());
        let event = match answer {
            Answer::Fenced => return Err(Lost::Fenced),
            Answer::Unknown(unknown) => self.unknown(call, unknown, now),
            Answer::Run(Outcome::Done(output)) => {
                self.outputs[step] = Some(output);
                Event::Done { step, now }
            }
            Answer::Run(Outcome::Pending { due, output }) => {
                self.outputs[step] = Some(output);
                Event::Pending { step, due, now }
            }
            Answer::Run(Outcome::Refused(fault)) if self.is_no_refusal(call, &fault) => {
                self.unknown(call, Unknown::passing(fault), now)
            }
            Answer::Run(Outcome::Refused(fault)) => Event::Refused { step, fault, now },
            Answer::Run(Outcome::Unknown(unknown)) => self.unknown(call, unknown, now),
            Answer::Compensate(Undo::Undone) => Event::Undone { step, now },
            Answer::Compensate(Undo::PivotPassed) => Event::PivotPassed { step },
            Answer::Compensate(Undo::Stands) => Event::Stands { step, retry_at: self.retry_at(call, None, now) },
            Answer::Compensate(Undo::Unknown(unknown)) => self.unknown(call, unknown, now),
        };
        self.apply(event);
        self.publish();
        Ok(())
    }

    /// An unrecorded "no" speaks of this moment only. Given to a call that may have been made before, it says nothing of
    /// what came of that one.
    fn is_no_refusal(&self, call: Todo, fault: &Fault) -> bool {
        let is_recorded = fault.metadata.get("recorded").is_none_or(|recorded| recorded != "false");
        let may_be_a_repeat = call.attempt > 1 || self.progress.is_redriven();
        !is_recorded && may_be_a_repeat
    }

    fn unknown(&mut self, call: Todo, unknown: Unknown, now: Timestamp) -> Event {
        let retry_at = self.retry_at(call, unknown.fault.retry_after, now);
        if unknown.permanent {
            let step = self.definition.plan.steps[call.step].name;
            error!(saga = %self.id, step, call = ?call.kind, reason = %unknown.fault.reason, "needs eyes: {}", unknown.fault);
        }
        Event::Unknown { step: call.step, kind: call.kind, unknown, now, retry_at }
    }

    /// When a call would be made again. What the other side asks for is heeded as far as the ceiling goes.
    fn retry_at(&mut self, call: Todo, asked: Option<Duration>, now: Timestamp) -> Timestamp {
        let backoff = self.definition.plan.steps[call.step].policy.backoff;
        let has_patience = call.kind == CallKind::Run && self.progress.course() == Course::Forward;
        let backoff = if has_patience { backoff } else { backoff.unhurried() };
        let pause = backoff.pause(call.attempt, &mut self.rng);
        now.saturating_add(pause.max(asked.unwrap_or_default().min(backoff.cap)))
    }

    fn call(&self, todo: Todo, timeout: Duration) -> Call {
        let visible = |n: &usize| match todo.kind {
            CallKind::Run => self.definition.plan.steps[todo.step].ancestors.contains(n),
            CallKind::Compensate => true,
        };
        let output = |n: usize| Some((self.definition.plan.steps[n].name, Arc::clone(self.outputs[n].as_ref()?)));
        Call {
            id: self.id,
            input: Arc::clone(&self.input),
            outputs: (0..self.outputs.len()).filter(visible).filter_map(output).collect(),
            attempt: todo.attempt,
            redriven: self.progress.is_redriven(),
            cause: self.progress.cause().cloned(),
            timeout,
        }
    }

    /// From the second attempt on, the log hears of an attempt before it is made. Reading once more what the saga waits for
    /// is none.
    fn note(&self, todo: Todo) -> Option<Note> {
        (todo.attempt > 1 && self.status != Status::Waiting).then(|| Note {
            log: Arc::clone(&self.shared.log),
            epoch: self.epoch,
            record: Record::Attempt(Attempts {
                step: self.definition.plan.steps[todo.step].name.to_owned(),
                call: todo.kind,
                attempts: todo.attempt,
                fault: self.progress.last_error(todo.step).cloned(),
            }),
            at: self.now(),
        })
    }
}

async fn make(definition: Arc<Definition>, todo: Todo, call: Call, note: Option<Note>) -> Answer {
    if let Some(note) = note {
        match note.log.record(call.id, note.epoch, note.record, note.at).await {
            Ok(()) => {}
            Err(LogError::Unavailable(_)) => {
                let fault = Fault::new(Reason::Unreachable, "the saga log is not available");
                return Answer::Unknown(Unknown::passing(fault));
            }
            Err(LogError::Fenced(_) | LogError::Missing(_) | LogError::Illegal(_)) => return Answer::Fenced,
        }
    }
    match (todo.kind, definition.compensation(todo.step)) {
        (CallKind::Run, _) => Answer::Run(definition.step(todo.step).run(call).await),
        (CallKind::Compensate, Some(compensation)) => Answer::Compensate(compensation.compensate(call).await),
        // Progress compensates compensatable steps only, and those have a compensation by type.
        (CallKind::Compensate, None) => Answer::Unknown(Unknown::permanent(Fault::internal())),
    }
}
