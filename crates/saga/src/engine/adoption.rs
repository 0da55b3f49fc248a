//! How a saga comes into memory: because it is new, or because nobody drives it any more.

use std::{any::Any, sync::Arc};

use spillway_types::{Fault, Reason};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::error;

use super::{Active, Handle, NewSaga, Shared, StartError, Started, driver::Driver, mailbox::Mailbox};
use crate::{
    context::{Cause, SagaId},
    definition::Definition,
    log::{self, LogError, Record, SagaRow},
    progress::Progress,
    snapshot::Snapshot,
    state::{Direction, Status},
};

/// A saga about to come into memory.
pub(super) struct Entrant {
    pub(super) id: SagaId,
    /// The lease under which it is driven.
    pub(super) epoch: i64,
    pub(super) definition: Arc<Definition>,
    pub(super) input: Arc<dyn Any + Send + Sync>,
    pub(super) progress: Progress,
    /// What the row says.
    pub(super) direction: Direction,
    pub(super) drives: u32,
    pub(super) permit: OwnedSemaphorePermit,
}

/// What became of an entrant.
enum Entry {
    Entered(Handle, Box<Driver>),
    /// It was in memory already.
    Known(Handle),
    /// Its partition was lost meanwhile.
    NotOurs,
}

// === impl Shared ===

impl Shared {
    pub(super) async fn start(
        self: Arc<Self>,
        new: NewSaga,
        epoch: i64,
        definition: Arc<Definition>,
        permit: OwnedSemaphorePermit,
    ) -> (Result<Started, StartError>, Option<Box<Driver>>) {
        let NewSaga { id, key, fingerprint, input, .. } = new;
        let now = self.clock.now();
        let row = SagaRow {
            id,
            key,
            fingerprint: fingerprint.clone(),
            definition: definition.name().to_owned(),
            version: definition.version(),
            input: new.json,
            status: Status::Running,
            direction: Direction::Forward,
            cause: None,
            parked: None,
            journal: None,
            epoch,
            attempts: Vec::new(),
            drives: 0,
            created: now,
            updated: now,
            wakeup: None,
        };
        match self.log.start(row).await {
            Ok(log::Started::New) => {
                let progress = Progress::new(&definition.plan, self.config.park_after);
                let direction = Direction::Forward;
                let entrant = Entrant { id, epoch, definition, input, progress, direction, drives: 0, permit };
                let (handle, driver) = match self.enter(entrant) {
                    Entry::Entered(handle, driver) => (handle, Some(driver)),
                    Entry::Known(handle) => (handle, None),
                    Entry::NotOurs => (self.follow(Arc::new(Snapshot::unsent(id, Status::Running))), None),
                };
                (Ok(Started { handle, fingerprint, is_repeat: false }), driver)
            }
            Ok(log::Started::Existing(row)) => {
                let fingerprint = row.fingerprint.clone();
                let handle = self.join(&row, permit);
                (Ok(Started { handle, fingerprint, is_repeat: true }), None)
            }
            Err(LogError::Fenced(_)) => (Err(StartError::NotOwner), None),
            Err(error) => (Err(error.into()), None),
        }
    }

    /// Finds a saga that was started before, and sees to it that somebody drives it if there is something to do.
    fn join(self: &Arc<Self>, row: &SagaRow, permit: OwnedSemaphorePermit) -> Handle {
        let adopted = match (row.status, self.epoch(row.id)) {
            (Status::Running | Status::Compensating | Status::Waiting, Some(epoch)) => {
                self.adopt(row, epoch, permit, None)
            }
            // Parked ones have their own pace, and paused ones an operator.
            _ => self.live(row.id),
        };
        adopted.unwrap_or_else(|| self.follow_row(row))
    }

    /// Takes up a saga that the log says is unfinished, unless somebody in this process drives it already; either way it
    /// is told what there is to tell. `None` when it may not be driven under that epoch any more.
    pub(super) fn adopt(
        self: &Arc<Self>,
        row: &SagaRow,
        epoch: i64,
        permit: OwnedSemaphorePermit,
        turn_back: Option<&Cause>,
    ) -> Option<Handle> {
        if let Some(handle) = self.post(row.id, turn_back) {
            return Some(handle);
        }
        let known =
            self.definitions.iter().find(|((name, version), _)| *name == row.definition && *version == row.version);
        let prepared = match known {
            None => Err(format!("no definition {} version {} is registered", row.definition, row.version)),
            Some((_, definition)) => match definition.decode_input(&row.input) {
                Ok(input) => Ok((Arc::clone(definition), input)),
                Err(error) => Err(format!("its input cannot be read: {error}")),
            },
        };
        let (definition, input) = match prepared {
            Ok(prepared) => prepared,
            Err(problem) => {
                self.park_undrivable(row, epoch, problem);
                return Some(Handle::of_row(row));
            }
        };
        let progress = Progress::redriven(&definition.plan, row, self.config.park_after);
        let (id, direction, drives) = (row.id, row.direction, row.drives);
        match self.enter(Entrant { id, epoch, definition, input, progress, direction, drives, permit }) {
            Entry::Entered(handle, driver) => {
                if let Some(cause) = turn_back {
                    self.post(id, Some(cause));
                }
                self.spawn(driver.drive());
                Some(handle)
            }
            Entry::Known(handle) => Some(handle),
            Entry::NotOurs => None,
        }
    }

    /// Puts a saga into memory, unless it is there already or its partition was lost, or gained anew, since its epoch was
    /// asked for.
    fn enter(self: &Arc<Self>, entrant: Entrant) -> Entry {
        let mut seats = self.lock();
        let id = entrant.id;
        if let Some(known) = seats.active.get(&id) {
            known.mailbox.post(None);
            return Entry::Known(Handle::new(known.feed.subscribe()));
        }
        if seats.epoch(id.partition()) != Some(entrant.epoch) {
            return Entry::NotOurs;
        }
        let (mailbox, halt) = (Arc::new(Mailbox::default()), self.halted.child_token());
        let feed = Arc::new(watch::Sender::new(Arc::new(Snapshot::unsent(id, Status::Running))));
        let driver = Driver::new(Arc::clone(self), entrant, Arc::clone(&mailbox), Arc::clone(&feed), halt.clone());
        let handle = Handle::new(feed.subscribe());
        seats.active.insert(id, Active { mailbox, feed, halt });
        Entry::Entered(handle, Box::new(driver))
    }

    /// A saga that this program cannot drive is shown to people and tried again later; the others go on.
    fn park_undrivable(self: &Arc<Self>, row: &SagaRow, epoch: i64, problem: String) {
        error!(saga = %row.id, problem, "parked: this program cannot drive the saga");
        let (id, shared) = (row.id, Arc::clone(self));
        let turning = row.cause.clone().filter(|_| row.direction == Direction::Turning);
        self.spawn(async move {
            let now = shared.clock.now();
            let wakeup = now.saturating_add(shared.config.parked_retry);
            let record = Record::Parked { reason: Fault::new(Reason::Internal, problem), wakeup, turning };
            if let Err(error) = shared.log.record(id, epoch, record, now).await {
                error!(saga = %id, %error, "could not be parked; the next scan tries again");
            }
        });
    }
}
