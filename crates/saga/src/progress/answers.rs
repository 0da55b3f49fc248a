//! How answers, requests and durable records change a saga's progress. Total: an answer that the course has left behind
//! changes nothing.

use spillway_types::{Fault, Reason, Timestamp};

use super::{Course, Event, Phase, Progress, Standing, Write};
use crate::{
    context::{Cause, Trigger},
    log::CallKind,
    plan::{Kind, Plan},
    step::Unknown,
};

// === impl Progress ===

impl Progress {
    /// Takes in what happened.
    pub(crate) fn apply(&mut self, plan: &Plan, event: Event) {
        match event {
            Event::Sent { call, now } => {
                let step = &mut self.steps[call.step];
                step.started.get_or_insert(now);
                let told = match call.kind {
                    CallKind::Run => &mut step.run,
                    CallKind::Compensate => &mut step.compensation,
                };
                told.standing = Standing::InFlight;
                told.attempts = call.attempt;
                told.since.get_or_insert(now);
            }
            Event::Done { step, now } => self.done(plan, step, now),
            Event::Refused { step, fault, now } => self.refused(plan, step, fault, now),
            Event::Pending { step, due, now } => self.pending(plan, step, due, now),
            Event::Unknown { step, kind: CallKind::Run, unknown, now, retry_at } => {
                self.run_unknown(plan, step, unknown, now, retry_at);
            }
            Event::Unknown { step, kind: CallKind::Compensate, unknown, retry_at, .. } => {
                self.compensation_unknown(step, unknown, retry_at);
            }
            Event::Undone { step, now } => self.undone(plan, step, now),
            Event::PivotPassed { step } => self.pivot_passed(plan, step),
            Event::Stands { step, retry_at } => self.stands(plan, step, retry_at),
            Event::TurnBack(cause) => self.turn_back(cause),
            Event::Wake => self.ask_again(),
            Event::Stay => {
                self.phase = Phase::Returning;
                self.ask_again();
            }
            Event::Logged(write) => self.logged(write),
        }
    }

    fn done(&mut self, plan: &Plan, step: usize, now: Timestamp) {
        if !self.goes_forward() {
            return;
        }
        self.moved();
        self.steps[step].run.standing = Standing::Done;
        self.steps[step].ended = Some(now);
        if plan.steps[step].kind == Kind::Pivot {
            self.course = Course::ForwardOnly;
        }
    }

    fn refused(&mut self, plan: &Plan, step: usize, fault: Fault, now: Timestamp) {
        if !self.goes_forward() {
            return;
        }
        self.moved();
        self.steps[step].last_error = Some(fault.clone());
        if self.course == Course::ForwardOnly {
            // Past the pivot a refusal breaks a promise; going back is no longer possible, so somebody has to look.
            self.steps[step].run.standing = Standing::Stuck;
            return;
        }
        self.steps[step].run.standing = Standing::Refused;
        self.steps[step].ended = Some(now);
        // A tombstone says that a compensation was sent, so something else was sent too.
        let nothing_else_was_sent = plan.is_only_root(step) && fault.reason != Reason::Cancelled;
        let cause = Cause { trigger: Trigger::Refusal, fault };
        if nothing_else_was_sent {
            self.cause = Some(cause);
            self.course = Course::Refused;
        } else {
            self.turn_back(cause);
        }
    }

    fn pending(&mut self, plan: &Plan, step: usize, due: Timestamp, now: Timestamp) {
        if !self.goes_forward() {
            return;
        }
        self.steps[step].run.standing = Standing::Pending { due };
        self.steps[step].run.since = None;
        if due > now {
            return;
        }
        if self.course == Course::Forward {
            let text = format!("what {} waited for did not come in time", plan.steps[step].name);
            let fault = Fault::new(Reason::Expired, text).with("step", plan.steps[step].name);
            self.turn_back(Cause { trigger: Trigger::Timer, fault });
        } else {
            self.moved();
            self.steps[step].run.standing = Standing::Stuck;
        }
    }

    fn run_unknown(&mut self, plan: &Plan, step: usize, unknown: Unknown, now: Timestamp, retry_at: Timestamp) {
        if !self.goes_forward() {
            return;
        }
        self.moved();
        let patience = plan.steps[step].policy.patience;
        let call = &mut self.steps[step].run;
        let patience_ends = call.since.unwrap_or(now).saturating_add(patience);
        let may_turn_back = self.course == Course::Forward;
        if unknown.permanent || (!may_turn_back && call.attempts >= self.park_after) {
            call.standing = Standing::Stuck;
        } else if !may_turn_back {
            call.standing = Standing::Retry { at: retry_at };
        } else if now < patience_ends {
            // A last attempt is made when patience ends.
            call.standing = Standing::Retry { at: retry_at.min(patience_ends) };
        } else {
            call.standing = Standing::Idle;
            let name = plan.steps[step].name;
            let text = format!("{name} got no definite answer within {patience:?}; whatever was begun is undone");
            let fault = Fault::new(Reason::Expired, text).with("step", name).with("last_error", unknown.fault.reason);
            self.turn_back(Cause { trigger: Trigger::Patience, fault });
        }
        self.steps[step].last_error = Some(unknown.fault);
    }

    fn compensation_unknown(&mut self, step: usize, unknown: Unknown, retry_at: Timestamp) {
        if !matches!(self.course, Course::Deciding | Course::Backward) {
            return;
        }
        let call = &mut self.steps[step].compensation;
        let is_stuck = unknown.permanent || call.attempts >= self.park_after;
        call.standing = if is_stuck { Standing::Stuck } else { Standing::Retry { at: retry_at } };
        self.steps[step].last_error = Some(unknown.fault);
    }

    fn undone(&mut self, plan: &Plan, step: usize, now: Timestamp) {
        let is_asked = match self.course {
            Course::Deciding => step == plan.arbiter,
            Course::Backward => true,
            Course::Forward | Course::Decided | Course::ForwardOnly | Course::Refused => false,
        };
        if is_asked {
            self.steps[step].compensation.standing = Standing::Done;
            self.steps[step].ended = Some(now);
        }
        if is_asked && self.course == Course::Deciding {
            self.course = Course::Decided;
        }
    }

    fn pivot_passed(&mut self, plan: &Plan, step: usize) {
        if self.course == Course::Deciding && step == plan.arbiter {
            self.go_forward(plan, Course::ForwardOnly);
        } else {
            self.contradicted(step);
        }
    }

    fn stands(&mut self, plan: &Plan, step: usize, retry_at: Timestamp) {
        if self.course != Course::Deciding || step != plan.arbiter {
            self.contradicted(step);
            return;
        }
        for call in self.steps.iter_mut().map(|step| &mut step.run) {
            call.since = None;
            // Paced, so that a participant which contradicts itself cannot make the saga spin.
            if matches!(call.standing, Standing::Pending { .. } | Standing::Refused) {
                call.standing = Standing::Retry { at: retry_at };
            }
        }
        self.go_forward(plan, Course::Forward);
    }

    /// The arbiter agreed to turning back, and now a participant says that the pivot has passed: somebody has to look.
    fn contradicted(&mut self, step: usize) {
        if self.course == Course::Backward {
            let text = "the saga has turned back, yet a participant says that the pivot has passed";
            self.steps[step].last_error = Some(Fault::new(Reason::IllegalTransition, text));
            self.steps[step].compensation.standing = Standing::Stuck;
        }
    }

    fn go_forward(&mut self, plan: &Plan, course: Course) {
        self.course = course;
        self.cause = None;
        self.steps[plan.arbiter].compensation.standing = Standing::Idle;
        for call in self.steps.iter_mut().map(|step| &mut step.run) {
            // What was refused or came too late is asked again: past the pivot it cannot have been so.
            if matches!(call.standing, Standing::Refused | Standing::Pending { .. }) {
                call.standing = Standing::Idle;
            }
        }
    }

    /// From wherever it goes forward and still can turn back; a second cause changes nothing.
    fn turn_back(&mut self, cause: Cause) {
        if self.course != Course::Forward {
            return;
        }
        self.moved();
        self.course = Course::Deciding;
        self.cause = Some(cause);
        for call in self.steps.iter_mut().map(|step| &mut step.run) {
            // The driver drops them.
            if matches!(call.standing, Standing::InFlight | Standing::Retry { .. } | Standing::Stuck) {
                call.standing = Standing::Idle;
            }
        }
    }

    fn ask_again(&mut self) {
        for step in &mut self.steps {
            for call in [&mut step.run, &mut step.compensation] {
                if matches!(call.standing, Standing::Retry { .. } | Standing::Stuck | Standing::Pending { .. }) {
                    call.standing = Standing::Idle;
                }
            }
        }
    }

    fn logged(&mut self, write: Write) {
        self.phase = match write {
            Write::Resumed => Phase::Active,
            Write::Onward => self.phase,
            Write::Compensating => {
                self.course = Course::Backward;
                Phase::Active
            }
            Write::Waiting { due } if self.phase == Phase::Active => {
                self.ask_again();
                Phase::Rereading { due }
            }
            Write::Waiting { .. } | Write::Parked { .. } => Phase::Leaving,
            Write::Finished(_) => Phase::Ended,
        };
    }

    /// Something other than "still pending" was found while the log says that the saga waits: it hears of it first.
    fn moved(&mut self) {
        if let Phase::Rereading { .. } = self.phase {
            self.phase = Phase::Returning;
        }
    }

    fn goes_forward(&self) -> bool {
        matches!(self.course, Course::Forward | Course::ForwardOnly)
    }
}
