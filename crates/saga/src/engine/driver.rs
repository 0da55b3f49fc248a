//! Drives one saga: carries out what its progress says, and reports back what came of it.

mod calls;

use std::{any::Any, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rand::{SeedableRng, rngs::SmallRng};
use spillway_types::{Fault, Timestamp};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use self::calls::Answered;
use super::{Feed, Mailbox, Shared, adoption::Entrant};
use crate::{
    context::SagaId,
    definition::Definition,
    log::{Journal, JournalStep, LogError, Record, StepState},
    plan::PlannedStep,
    policy::Backoff,
    progress::{Course, Event, Next, Progress, Write},
    snapshot::{Fate, Output, Snapshot, StepView},
    state::{Direction, Status},
    step::Stored,
};

/// Pauses while the log is away: short, since it is our own store and everything waits for it.
const LOG_BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(1) };

/// One saga in memory.
pub(super) struct Driver {
    shared: Arc<Shared>,
    id: SagaId,
    /// The lease under which it is driven.
    epoch: i64,
    definition: Arc<Definition>,
    input: Arc<dyn Any + Send + Sync>,
    progress: Progress,
    /// What the steps gave, by number.
    outputs: Vec<Option<Stored>>,
    /// The calls being made. They are polled by this one task: a panic in one is caught, and dropping them ends them.
    in_flight: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Where the log has it.
    status: Status,
    /// Which way the log has it going, and how often it was taken up again.
    direction: Direction,
    drives: u32,
    /// Somebody far away asked it to turn back, and has not been told that it is too late.
    is_asked_from_afar: bool,
    /// Why it is parked, and when it is looked at again, while it is out of memory.
    rest: (Option<Fault>, Option<Timestamp>),
    feed: Feed,
    /// Stops it where it is.
    halt: CancellationToken,
    seat: Seat,
    rng: SmallRng,
    /// The wall clock at the start of this drive; from there time is counted by a clock that cannot be set.
    since: (Timestamp, Instant),
}

/// A saga's place in memory, given back when the driver ends, however it ends.
struct Seat {
    shared: Arc<Shared>,
    id: SagaId,
    mailbox: Arc<Mailbox>,
    _permit: OwnedSemaphorePermit,
}

/// Why a driver stops before its saga is at rest.
enum Lost {
    /// Somebody else drives or has finished the saga, or may by now.
    Fenced,
    /// The engine is shutting down.
    Draining,
}

// === impl Driver ===

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        entrant: Entrant,
        mailbox: Arc<Mailbox>,
        feed: Feed,
        halt: CancellationToken,
    ) -> Self {
        let Entrant { id, epoch, definition, input, progress, direction, drives, permit } = entrant;
        let status = if progress.course() == Course::Backward { Status::Compensating } else { Status::Running };
        let (low, high) = id.0.as_u64_pair();
        let driver = Self {
            rng: SmallRng::seed_from_u64(shared.config.seed ^ low ^ high),
            since: (shared.clock.now(), Instant::now()),
            seat: Seat { shared: Arc::clone(&shared), id, mailbox, _permit: permit },
            outputs: vec![None; definition.plan.steps.len()],
            in_flight: FuturesUnordered::new(),
            feed,
            halt,
            shared,
            id,
            epoch,
            definition,
            input,
            progress,
            status,
            direction,
            drives,
            is_asked_from_afar: direction == Direction::Turning,
            rest: (None, None),
        };
        driver.publish();
        driver
    }

    /// Drives the saga until it is at rest, or it is not ours to drive any more.
    pub(super) async fn drive(mut self) {
        let halt = self.halt.clone();
        let driven = tokio::select! {
            biased;
            () = halt.cancelled() => Err(Lost::Fenced),
            driven = self.drive_to_rest() => driven,
        };
        let Self { shared, id, status, feed, in_flight, seat, .. } = self;
        drop(in_flight);
        drop(seat);
        match driven {
            Ok(()) => debug!(saga = %id, %status, "at rest"),
            Err(Lost::Draining) => debug!(saga = %id, "left to the next process"),
            // Whoever holds a handle is told how the saga goes on.
            Err(Lost::Fenced) => shared.keep_fed(feed),
        }
    }

    async fn drive_to_rest(&mut self) -> Result<(), Lost> {
        loop {
            self.read_mail();
            let now = self.now();
            match self.progress.todo(&self.definition.plan, now) {
                Next::Write(write) => self.write(write).await?,
                Next::Call(_) | Next::Wait(_) if self.owes_an_answer() => self.write(Write::Onward).await?,
                Next::Call(_) if !self.shared.may_drive(self.id, self.epoch) => return Err(Lost::Fenced),
                Next::Call(calls) if !self.shared.draining.is_cancelled() => {
                    for call in calls {
                        self.in_flight.push(self.prepare(call));
                        self.apply(Event::Sent { call, now });
                    }
                }
                Next::Call(_) => self.wait(None).await?,
                Next::Wait(until) => self.wait(until).await?,
                Next::Leave if self.shared.leave_if_quiet(self.id, &self.seat.mailbox) => return Ok(()),
                Next::Leave => self.apply(Event::Stay),
                Next::End => return Ok(()),
            }
        }
    }

    /// Waits for an answer, for mail, or until then. While draining, for answers only.
    async fn wait(&mut self, until: Option<Timestamp>) -> Result<(), Lost> {
        let now = self.now();
        let nap = until.map(|until| until.saturating_since(now));
        let is_draining = self.shared.draining.is_cancelled();
        if is_draining && self.in_flight.is_empty() {
            return Err(Lost::Draining);
        }
        let answered = tokio::select! {
            Some(answered) = self.in_flight.next() => answered,
            () = self.seat.mailbox.arrived() => return Ok(()),
            () = tokio::time::sleep(nap.unwrap_or_default()), if nap.is_some() && !is_draining => return Ok(()),
            () = self.shared.draining.cancelled(), if !is_draining => return Ok(()),
        };
        self.take_in(answered)
    }

    /// Makes a record durable, however long that takes.
    async fn write(&mut self, write: Write) -> Result<(), Lost> {
        let mut attempt = 0_u32;
        loop {
            let now = self.now();
            match self.shared.log.record(self.id, self.epoch, self.record(write, now), now).await {
                Ok(()) => break,
                Err(LogError::Unavailable(error)) => {
                    attempt = attempt.saturating_add(1);
                    let pause = LOG_BACKOFF.pause(attempt, &mut self.rng);
                    warn!(saga = %self.id, error, attempt, "the saga log is not available");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shared.draining.cancelled() => return Err(Lost::Draining),
                    }
                }
                Err(error @ (LogError::Fenced(_) | LogError::Missing(_) | LogError::Illegal(_))) => {
                    warn!(saga = %self.id, %error, "not ours to drive");
                    return Err(Lost::Fenced);
                }
            }
        }
        self.status = write.status(self.progress.course());
        self.note_what_the_log_knows(write);
        self.rest = match write {
            Write::Waiting { due } => (None, Some(due)),
            Write::Parked { step } => {
                let fault = self.stuck_on(step);
                error!(saga = %self.id, step = fault.metadata.get("step"), reason = %fault.reason, "parked: {fault}");
                (Some(fault), Some(self.parked_until(self.now())))
            }
            Write::Resumed | Write::Onward | Write::Compensating | Write::Finished(_) => (None, None),
        };
        self.apply(Event::Logged(write));
        self.publish();
        Ok(())
    }

    fn note_what_the_log_knows(&mut self, write: Write) {
        match write {
            Write::Resumed => self.drives = self.drives.saturating_add(1),
            Write::Onward => {
                self.direction = Direction::Onward;
                self.is_asked_from_afar = false;
            }
            Write::Compensating => self.direction = Direction::Backward,
            Write::Parked { .. } if self.progress.request().is_some() => self.direction = Direction::Turning,
            Write::Waiting { .. } | Write::Parked { .. } | Write::Finished(_) => {}
        }
    }

    /// Whether somebody far away asked it to turn back and cannot know yet that the pivot has passed.
    fn owes_an_answer(&self) -> bool {
        self.is_asked_from_afar && self.status == Status::Running && self.progress.course() == Course::ForwardOnly
    }

    fn record(&self, write: Write, now: Timestamp) -> Record {
        let cause = || self.progress.cause().map(|cause| cause.fault.clone());
        match write {
            Write::Resumed => Record::Resumed { direction: self.direction, drive: self.drives.saturating_add(1) },
            Write::Onward => Record::Onward,
            Write::Compensating => Record::Compensating { cause: cause().unwrap_or_else(Fault::internal) },
            Write::Waiting { due } => Record::Waiting { due },
            Write::Parked { step } => Record::Parked {
                reason: self.stuck_on(step),
                wakeup: self.parked_until(now),
                turning: self.progress.request().cloned(),
            },
            Write::Finished(end) => Record::Finished { end, cause: cause(), journal: self.journal() },
        }
    }

    /// What keeps a step from a definite answer, for people.
    fn stuck_on(&self, step: usize) -> Fault {
        let fault = self.progress.last_error(step).cloned().unwrap_or_else(Fault::internal);
        fault.with("step", self.definition.plan.steps[step].name)
    }

    fn journal(&self) -> Journal {
        let line = |(n, step): (usize, &PlannedStep)| {
            let (started, ended) = self.progress.times(n);
            JournalStep {
                name: step.name.to_owned(),
                kind: step.kind,
                state: self.progress.state(n),
                attempts: self.progress.attempts(n),
                last_error: self.progress.last_error(n).cloned(),
                started,
                ended,
                output: self.outputs[n].as_ref().and_then(|output| self.definition.step(n).encode(output)),
            }
        };
        let was_sent = |(n, _): &(usize, &PlannedStep)| self.progress.state(*n) != StepState::Idle;
        Journal { steps: self.definition.plan.steps.iter().enumerate().filter(was_sent).map(line).collect() }
    }

    fn read_mail(&mut self) {
        if self.seat.mailbox.is_empty() {
            return;
        }
        let mail = self.seat.mailbox.take();
        if mail.is_from_afar && self.direction == Direction::Forward {
            self.direction = Direction::Turning;
            self.is_asked_from_afar = true;
        }
        if let Some(cause) = mail.turn_back {
            self.apply(Event::TurnBack(cause));
        }
        if mail.woken {
            self.apply(Event::Wake);
        }
    }

    /// Takes in what happened. Calls in flight when the saga turns back are dropped (see [`crate::progress`]).
    fn apply(&mut self, event: Event) {
        let before = self.progress.course();
        self.progress.apply(&self.definition.plan, event);
        let after = self.progress.course();
        if before != after {
            debug!(saga = %self.id, from = ?before, to = ?after, "changed course");
        }
        if before == Course::Forward && matches!(after, Course::Deciding | Course::Refused) {
            self.in_flight.clear();
        }
    }

    fn publish(&self) {
        let course = self.progress.course();
        let fate = match (self.status, course) {
            (Status::Refused | Status::Compensating | Status::Compensated, _) | (_, Course::Backward) => Fate::Back,
            (_, Course::ForwardOnly) | (Status::Completed, _) => Fate::Forward,
            _ => Fate::Open,
        };
        let view = |(n, step): (usize, &PlannedStep)| StepView {
            name: step.name.into(),
            kind: step.kind,
            state: self.progress.state(n),
            attempts: self.progress.attempts(n),
            last_error: self.progress.last_error(n).cloned(),
            output: self.outputs[n].clone().map(Output::Live),
        };
        self.feed.send_replace(Arc::new(Snapshot {
            id: self.id,
            status: self.status,
            fate,
            answerable: self.progress.is_answerable(&self.definition.plan),
            cause: self.progress.cause().filter(|_| fate == Fate::Back).map(|cause| cause.fault.clone()),
            parked: self.rest.0.clone(),
            wakeup: self.rest.1,
            steps: self.definition.plan.steps.iter().enumerate().map(view).collect(),
        }));
    }

    fn parked_until(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.shared.config.parked_retry)
    }

    /// The present moment, by the wall clock at the start of the drive and a clock that cannot be set from there.
    fn now(&self) -> Timestamp {
        self.since.0.saturating_add(self.since.1.elapsed())
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.leave(self.id, &self.mailbox);
    }
}
