//! Drives sagas: at most [`EngineConfig::active_max`] at a time, each by a task of its own.

mod adoption;
mod driver;
mod following;
mod handle;
mod mailbox;
mod recovery;
mod request;
mod tenure;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use spillway_types::{Clock, Fault, id::Partition};
use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{following::Feeds, mailbox::Mailbox};
pub use self::{
    handle::Handle,
    request::{EngineConfig, EngineError, NewSaga, StartError, Started},
};
use crate::{
    context::{Cause, SagaId, Trigger},
    definition::Definition,
    log::{Log, SagaRow, Signal},
    snapshot::Snapshot,
    state::{Direction, Status},
    territory::Territory,
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
    seats: Mutex<Seats>,
    /// A saga has left memory.
    left: Notify,
    /// There is something new to be searched for unfinished sagas.
    gained: Notify,
    /// Views of sagas that are driven elsewhere.
    feeds: Mutex<Feeds>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Start nothing new; finish what is in flight.
    draining: CancellationToken,
    /// Stop at once.
    halted: CancellationToken,
}

/// What may be driven, and what is: under one lock, so that nothing is driven that may not be.
struct Seats {
    territory: Territory,
    /// The sagas in memory; bounded by `permits`.
    active: HashMap<SagaId, Active>,
}

/// A saga in memory.
struct Active {
    mailbox: Arc<Mailbox>,
    feed: Feed,
    /// Stops its driver.
    halt: CancellationToken,
}

/// Where views of a saga are sent.
type Feed = Arc<watch::Sender<Arc<Snapshot>>>;

// === impl Engine ===

impl Engine {
    /// An engine for the given definitions; several versions of one saga may be among them. It drives every saga, under
    /// epoch 0, unless [`Self::within`] says otherwise.
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
            seats: Mutex::new(Seats { territory: Territory::whole(0), active: HashMap::new() }),
            left: Notify::new(),
            gained: Notify::new(),
            feeds: Mutex::default(),
            permits: Arc::new(Semaphore::new(config.active_max.min(Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            halted: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Says which sagas it may drive; before anything is started.
    #[must_use]
    pub fn within(self, territory: Territory) -> Self {
        self.shared.lock().territory = territory;
        self
    }

    /// Starts a saga, or finds the one that has its key, in whatever state it is and whoever drives it. Returns once the
    /// saga is durable; from then on it goes on by itself, whether or not anybody holds the handle.
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
        let epoch = self.shared.epoch(new.id).ok_or(StartError::NotOwner)?;
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned().map_err(|_| StartError::Busy)?;
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        // A task of its own: a caller that goes away leaves no half-started saga behind.
        self.shared.spawn(async move {
            let (started, driver) = shared.start(new, epoch, definition, permit).await;
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

    /// Asks a saga to turn back, wherever it is and whoever drives it. [`Handle::settled`] tells whether it did: too late
    /// is no error here.
    ///
    /// # Errors
    /// When there is no such saga, the log fails, or the engine is shutting down.
    pub async fn turn_back(&self, id: SagaId, cause: Fault) -> Result<Handle, EngineError> {
        self.tell(id, Signal::TurnBack(cause)).await
    }

    /// Says that what a saga waits for may have come: it looks again. A hint only; losing it costs time, nothing else.
    ///
    /// # Errors
    /// When there is no such saga, the log fails, or the engine is shutting down.
    pub async fn signal(&self, id: SagaId) -> Result<Handle, EngineError> {
        self.tell(id, Signal::Look).await
    }

    /// How many sagas are in memory.
    pub fn active(&self) -> usize {
        self.shared.lock().active.len()
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

    /// Stops at once and drops the calls in flight, as a crash would.
    pub async fn halt(&self) {
        self.shared.draining.cancel();
        self.shared.halted.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    async fn tell(&self, id: SagaId, signal: Signal) -> Result<Handle, EngineError> {
        let shared = &self.shared;
        let cause = match &signal {
            Signal::TurnBack(fault) => Some(Cause { trigger: Trigger::Request, fault: fault.clone() }),
            Signal::Look => None,
        };
        if let Some(handle) = shared.post(id, cause.as_ref()) {
            return Ok(handle);
        }
        if shared.draining.is_cancelled() {
            return Err(EngineError::Draining);
        }
        if let Some(epoch) = shared.epoch(id) {
            let row = shared.log.load(id).await?.ok_or(EngineError::NotFound(id))?;
            if row.status.is_final() || (cause.is_none() && row.status == Status::Paused) {
                return Ok(Handle::of_row(&row));
            }
            // It waits its turn rather than be refused: the saga holds stock or money already.
            let permit = Arc::clone(&shared.permits).acquire_owned().await;
            let permit = permit.map_err(|_| EngineError::Draining)?;
            if let Some(handle) = shared.adopt(&row, epoch, permit, cause.as_ref()) {
                return Ok(handle);
            }
        }
        let row = shared.log.post(id, signal).await?.ok_or(EngineError::NotFound(id))?;
        Ok(shared.follow_row(&row))
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch under which this process may drive a saga.
    fn epoch(&self, id: SagaId) -> Option<i64> {
        self.lock().epoch(id.partition())
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
        self.lock().active.get(&id).map(|active| Handle::new(active.feed.subscribe()))
    }

    /// Tells a saga in memory something. It cannot leave memory before it has read it: leaving takes the same lock.
    fn post(&self, id: SagaId, turn_back: Option<&Cause>) -> Option<Handle> {
        let seats = self.lock();
        let active = seats.active.get(&id)?;
        active.mailbox.post(turn_back.cloned());
        Some(Handle::new(active.feed.subscribe()))
    }

    /// Passes on to a saga in memory what its row says somebody left for it. Whether it is in memory.
    fn pass_on(&self, row: &SagaRow) -> bool {
        let seats = self.lock();
        let Some(active) = seats.active.get(&row.id) else { return false };
        match &row.cause {
            Some(fault) if row.has_word() && row.direction == Direction::Turning => {
                active.mailbox.post_from_afar(Cause { trigger: Trigger::Request, fault: fault.clone() });
            }
            _ if row.has_word() => active.mailbox.post(None),
            _ => {}
        }
        true
    }

    /// Takes a saga out of memory, unless something came in for it.
    fn leave_if_quiet(&self, id: SagaId, mailbox: &Arc<Mailbox>) -> bool {
        let mut seats = self.lock();
        if !mailbox.is_empty() {
            return false;
        }
        seats.active.remove(&id);
        true
    }

    /// Takes a saga out of memory, unless another driver has it by now.
    fn leave(&self, id: SagaId, mailbox: &Arc<Mailbox>) {
        let mut seats = self.lock();
        if seats.active.get(&id).is_some_and(|known| Arc::ptr_eq(&known.mailbox, mailbox)) {
            seats.active.remove(&id);
        }
        drop(seats);
        self.left.notify_waiters();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active = self.lock().active.len();
        f.debug_struct("Shared").field("config", &self.config).field("active", &active).finish_non_exhaustive()
    }
}

// === impl Seats ===

impl Seats {
    fn epoch(&self, partition: Partition) -> Option<i64> {
        self.territory.epoch(partition, Instant::now())
    }
}
