//! Drives sagas: at most [`EngineConfig::active_max`] at a time, each by a task of its own.

mod driver;
mod handle;
mod mailbox;
mod recovery;
mod request;

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use spillway_types::{Clock, Fault, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

use self::{driver::Driver, mailbox::Mailbox};
pub use self::{
    handle::Handle,
    request::{EngineConfig, EngineError, NewSaga, StartError, Started},
};
use crate::{
    context::{Cause, SagaId, Trigger},
    definition::Definition,
    log::{self, Log, Record, SagaRow},
    progress::Progress,
    snapshot::Snapshot,
    state::{Direction, Status},
};

/// Runs sagas. Clones share everything.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all drivers share.
struct Shared {
    definitions: HashMap<(&'static str, u32), Arc<Definition>>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    config: EngineConfig,
    /// The sagas in memory; bounded by `permits`.
    active: Mutex<HashMap<SagaId, Active>>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Start nothing new; finish what is in flight.
    draining: CancellationToken,
    /// Stop at once.
    halted: CancellationToken,
}

/// A saga in memory.
struct Active {
    mailbox: Arc<Mailbox>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

// === impl Engine ===

impl Engine {
    /// An engine for the given definitions; several versions of one saga may be among them.
    pub fn new(
        definitions: impl IntoIterator<Item = Definition>,
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        config: EngineConfig,
    ) -> Self {
        let by_name = |definition: Definition| ((definition.name(), definition.version()), Arc::new(definition));
        let shared = Shared {
            definitions: definitions.into_iter().map(by_name).collect(),
            log,
            clock,
            config,
            active: Mutex::default(),
            permits: Arc::new(Semaphore::new(config.active_max.min(Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            halted: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts a saga, or finds the one that has its key, in whatever state it is. Returns once the saga is durable; from
    /// then on it goes on by itself, whether or not anybody holds the handle.
    ///
    /// # Errors
    /// See [`StartError`]; only [`StartError::Log`] leaves it open whether the saga was started.
    pub async fn start(&self, new: NewSaga) -> Result<Started, StartError> {
        if self.shared.draining.is_cancelled() {
            return Err(StartError::Draining);
        }
        let (name, version) = new.definition;
        let definition = self.shared.definitions.get(&(name, version)).map(Arc::clone);
        let definition = definition.ok_or(StartError::UnknownDefinition(name, version))?;
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned().map_err(|_| StartError::Busy)?;
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        // A task of its own: a caller that goes away leaves no half-started saga behind.
        self.shared.spawn(async move {
            let (started, driver) = shared.start(new, definition, permit).await;
            // Nobody listens any more when the caller went away; the saga goes on all the same.
            let _ = answer.send(started);
            if let Some(driver) = driver {
                driver.drive().await;
            }
        });
        answered.await.unwrap_or(Err(StartError::Draining))
    }

    /// Finds a saga, in memory or in the log, without waking it.
    ///
    /// # Errors
    /// When there is none, or the log fails.
    pub async fn attach(&self, id: SagaId) -> Result<Handle, EngineError> {
        if let Some(handle) = self.shared.live(id) {
            return Ok(handle);
        }
        let row = self.shared.log.load(id).await?.ok_or(EngineError::NotFound(id))?;
        Ok(self.shared.live(id).unwrap_or_else(|| Handle::of_row(&row)))
    }

    /// Finds the saga that has a caller's key, without waking it.
    ///
    /// # Errors
    /// When the log fails.
    pub async fn find(&self, key: &str) -> Result<Option<Handle>, EngineError> {
        let row = self.shared.log.find(key).await?;
        Ok(row.map(|row| self.shared.live(row.id).unwrap_or_else(|| Handle::of_row(&row))))
    }

    /// Asks a saga to turn back, wherever it is. [`Handle::settled`] tells whether it did: too late is no error here.
    ///
    /// # Errors
    /// When there is no such saga, the log fails, or the engine is shutting down.
    pub async fn turn_back(&self, id: SagaId, cause: Fault) -> Result<Handle, EngineError> {
        self.tell(id, Some(cause)).await
    }

    /// Says that what a saga waits for may have come: it looks again. A hint only; losing it costs time, nothing else.
    ///
    /// # Errors
    /// When there is no such saga, the log fails, or the engine is shutting down.
    pub async fn signal(&self, id: SagaId) -> Result<Handle, EngineError> {
        self.tell(id, None).await
    }

    /// How many sagas are in memory.
    pub fn active(&self) -> usize {
        self.shared.lock().len()
    }

    /// Starts nothing new, lets calls in flight end within [`EngineConfig::drain`], and stops. What is unfinished is in
    /// the log.
    pub async fn shutdown(&self) {
        self.shared.draining.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(self.shared.config.drain, self.shared.tasks.wait()).await.is_err() {
            self.halt().await;
        }
    }

    /// Stops at once and drops the calls in flight, as a crash would: for a process that lost its right to drive.
    pub async fn halt(&self) {
        self.shared.draining.cancel();
        self.shared.halted.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    async fn tell(&self, id: SagaId, turn_back: Option<Fault>) -> Result<Handle, EngineError> {
        let cause = turn_back.map(|fault| Cause { trigger: Trigger::Request, fault });
        if let Some(handle) = self.shared.post(id, cause.as_ref()) {
            return Ok(handle);
        }
        if self.shared.draining.is_cancelled() {
            return Err(EngineError::Draining);
        }
        let row = self.shared.log.load(id).await?.ok_or(EngineError::NotFound(id))?;
        if row.status.is_final() || (cause.is_none() && row.status == Status::Paused) {
            return Ok(Handle::of_row(&row));
        }
        // It waits its turn rather than be refused: the saga holds stock or money already.
        let permit = Arc::clone(&self.shared.permits).acquire_owned().await;
        let permit = permit.map_err(|_| EngineError::Draining)?;
        Ok(self.shared.adopt(row, permit, cause.as_ref()))
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task that ends at once when the engine is halted.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let halted = self.halted.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = halted.cancelled() => {}
                () = task => {}
            }
        });
    }

    fn live(&self, id: SagaId) -> Option<Handle> {
        self.lock().get(&id).map(|active| Handle::new(active.snapshots.clone()))
    }

    /// Tells a saga in memory something. It cannot leave memory before it has read it: leaving takes the same lock.
    fn post(&self, id: SagaId, turn_back: Option<&Cause>) -> Option<Handle> {
        let active = self.lock();
        let active = active.get(&id)?;
        active.mailbox.post(turn_back.cloned());
        Some(Handle::new(active.snapshots.clone()))
    }

    async fn start(
        self: Arc<Self>,
        new: NewSaga,
        definition: Arc<Definition>,
        permit: OwnedSemaphorePermit,
    ) -> (Result<Started, StartError>, Option<Driver>) {
        let NewSaga { id, key, fingerprint, epoch, input, .. } = new;
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
                let (handle, driver) = self.enter(id, definition, input, progress, permit);
                (Ok(Started { handle, fingerprint, is_repeat: false }), driver)
            }
            Ok(log::Started::Existing(row)) => {
                let fingerprint = row.fingerprint.clone();
                let handle = match row.status {
                    // Parked ones have their own pace, and paused ones an operator.
                    Status::Running | Status::Compensating | Status::Waiting => self.adopt(*row, permit, None),
                    _ => self.live(row.id).unwrap_or_else(|| Handle::of_row(&row)),
                };
                (Ok(Started { handle, fingerprint, is_repeat: true }), None)
            }
            Err(error) => (Err(error.into()), None),
        }
    }

    /// Takes up a saga that the log says is unfinished, unless somebody in this process drives it already; either way it
    /// is told what there is to tell.
    fn adopt(self: &Arc<Self>, row: SagaRow, permit: OwnedSemaphorePermit, turn_back: Option<&Cause>) -> Handle {
        if let Some(handle) = self.post(row.id, turn_back) {
            return handle;
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
        match prepared {
            Ok((definition, input)) => {
                let progress = Progress::redriven(&definition.plan, &row, self.config.park_after);
                let (handle, driver) = self.enter(row.id, definition, input, progress, permit);
                if let Some(cause) = turn_back {
                    self.post(row.id, Some(cause));
                }
                if let Some(driver) = driver {
                    self.spawn(driver.drive());
                }
                handle
            }
            Err(problem) => {
                self.park_undrivable(&row, problem);
                Handle::of_row(&row)
            }
        }
    }

    /// Puts a saga into memory; without a driver when it was there already.
    fn enter(
        self: &Arc<Self>,
        id: SagaId,
        definition: Arc<Definition>,
        input: Arc<dyn Any + Send + Sync>,
        progress: Progress,
        permit: OwnedSemaphorePermit,
    ) -> (Handle, Option<Driver>) {
        let mut active = self.lock();
        if let Some(known) = active.get(&id) {
            known.mailbox.post(None);
            return (Handle::new(known.snapshots.clone()), None);
        }
        let mailbox = Arc::new(Mailbox::default());
        let (driver, snapshots) =
            Driver::new(Arc::clone(self), id, definition, input, progress, (Arc::clone(&mailbox), permit));
        active.insert(id, Active { mailbox, snapshots: snapshots.clone() });
        (Handle::new(snapshots), Some(driver))
    }

    /// Takes a saga out of memory, unless something came in for it.
    fn leave_if_quiet(&self, id: SagaId, mailbox: &Arc<Mailbox>) -> bool {
        let mut active = self.lock();
        if !mailbox.is_empty() {
            return false;
        }
        active.remove(&id);
        true
    }

    /// Takes a saga out of memory, unless another driver has it by now.
    fn leave(&self, id: SagaId, mailbox: &Arc<Mailbox>) {
        let mut active = self.lock();
        if active.get(&id).is_some_and(|known| Arc::ptr_eq(&known.mailbox, mailbox)) {
            active.remove(&id);
        }
    }

    /// A saga that this program cannot drive is shown to people and tried again later; the others go on.
    fn park_undrivable(self: &Arc<Self>, row: &SagaRow, problem: String) {
        error!(saga = %row.id, problem, "parked: this program cannot drive the saga");
        let (id, shared) = (row.id, Arc::clone(self));
        let turning = row.cause.clone().filter(|_| row.direction == Direction::Turning);
        self.spawn(async move {
            let now = shared.clock.now();
            let wakeup = now.saturating_add(shared.config.parked_retry);
            let record = Record::Parked { reason: Fault::new(Reason::Internal, problem), wakeup, turning };
            if let Err(error) = shared.log.record(id, record, now).await {
                error!(saga = %id, %error, "could not be parked; the next scan tries again");
            }
        });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("active", &self.lock().len())
            .finish_non_exhaustive()
    }
}
