//! Group commit: many callers, one transaction.
//!
//! A batch is whatever arrived while the last commit ran, so an idle service answers after one commit and a busy one
//! pays one commit for hundreds of commands. There is no linger: waiting for company would only slow the idle case.
//!
//! The worker owns its connection and no caller's future ever holds a transaction, so a caller that goes away cannot
//! leave one half done. A refusal is an answer like any other: it never fails its neighbours.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize;
use spillway_types::Timestamp;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use crate::StoreError;

/// How often a batch is decided again because another writer was first. Each round, at least one other writer made
/// progress; with a handful of replicas this many losses in a row mean that something else is wrong.
const CONFLICT_ROUNDS: u32 = 8;
/// How often a batch is carried out again because the connection broke. Commands are idempotent, so a batch that had
/// committed unheard is answered as it was decided then. Further tries are the callers', by their keys: a database that
/// is away for longer must not keep them waiting past their deadlines.
const LOST_ROUNDS: u32 = 2;

/// How long a batch may take, commit included; statements have limits of their own, which are shorter, so this one strikes
/// when the database's machine is gone or frozen. Nobody waits for an answer that long.
const BATCH_WAIT: Duration = Duration::from_secs(10);

/// Pause between two looks for records that need not be kept any more. Each look deletes a bounded number, so it is short
/// enough for a busy service to keep up, and long enough to cost nothing.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// How long marks of published events wait for commands to travel with, before they get a transaction of their own. A
/// crash before that only means that the events are offered again.
const MARKS_WAIT: Duration = Duration::from_millis(100);
/// Most marks that wait.
const MARKS_MAX: usize = 4_096;

/// The pure middle of a write path.
pub trait Rules: Send + Sync + 'static {
    /// What callers ask for.
    type Command: Send + Sync + 'static;
    /// What each of them hears.
    type Answer: Send + 'static;
    /// The rows that a batch touches.
    type Rows: Send + Sync;

    /// Judges one command against the rows as the batch has left them so far, and changes them.
    fn decide(rows: &mut Self::Rows, command: &Self::Command, now: Timestamp) -> Self::Answer;
}

/// The two ends of a write path, on one backend.
#[async_trait]
pub trait Store<R: Rules>: Send + 'static {
    /// The backend's transaction.
    type Session: Session;

    /// The session that `load` and `save` speak through.
    fn session(&mut self) -> &mut Self::Session;

    /// Reads every row that the commands may touch, locked in key order where the backend has row locks.
    async fn load(&mut self, commands: &[R::Command]) -> Result<R::Rows, StoreError>;

    /// Writes what changed, each table with one statement over the whole batch.
    async fn save(&mut self, rows: &R::Rows) -> Result<(), StoreError>;
}

/// A connection that one worker owns, and its transaction.
#[async_trait]
pub trait Session: Send {
    /// Begins a write transaction.
    async fn begin(&mut self) -> Result<(), StoreError>;
    /// What time it is. Asked once the rows are locked, for everything judged in the transaction: asked before, it could
    /// be earlier than what another writer did while this one waited for its locks.
    async fn now(&mut self) -> Result<Timestamp, StoreError>;
    /// Makes it durable.
    async fn commit(&mut self) -> Result<(), StoreError>;
    /// Undoes it, and leaves the session fit for the next `begin`.
    async fn rollback(&mut self) -> Result<(), StoreError>;
    /// Marks outbox rows as published, inside the transaction.
    async fn mark_published(&mut self, positions: &[i64], now: Timestamp) -> Result<(), StoreError>;
    /// Deletes some of the idempotency records that are older than they are kept, inside the transaction.
    async fn forget_records(&mut self, now: Timestamp) -> Result<(), StoreError>;
}

/// Bounds of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most commands in one transaction. Beyond some hundreds a larger batch no longer saves time, but adds latency.
    pub batch_max: usize,
    /// Most commands waiting. At a few thousand commits' worth of commands a caller's deadline is over before its turn.
    pub queue_max: usize,
}

/// The callers' end of a group-commit worker. Cheap to clone.
pub struct Committer<R: Rules> {
    queue: mpsc::Sender<Entry<R>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    alive: AtomicBool,
    committed: Notify,
    batches: AtomicU64,
    commands: AtomicU64,
    conflicts: AtomicU64,
    lost: AtomicU64,
}

/// What a worker has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transactions that were committed.
    pub batches: u64,
    /// Commands in them.
    pub commands: u64,
    /// Batches that were decided again because another writer was first.
    pub conflicts: u64,
    /// Batches that were carried out again because the connection broke.
    pub lost: u64,
}

enum Entry<R: Rules> {
    Command(R::Command, oneshot::Sender<Result<R::Answer, StoreError>>),
    Published(Vec<i64>),
}

struct Batch<R: Rules> {
    commands: Vec<R::Command>,
    replies: Vec<oneshot::Sender<Result<R::Answer, StoreError>>>,
    published: Vec<i64>,
}

struct Worker<R: Rules, S> {
    store: S,
    queue: mpsc::Receiver<Entry<R>>,
    shared: Arc<Shared>,
    /// When old records are looked for next. It travels with whatever is committed then.
    tidy_at: Instant,
}

/// Starts a worker over `store`. It ends, after a last commit, when every [`Committer`] is gone.
pub fn spawn<R: Rules, S: Store<R>>(store: S, limits: Limits) -> Committer<R> {
    let (queue, commands) = mpsc::channel(limits.queue_max);
    let shared = Arc::new(Shared {
        limits,
        alive: AtomicBool::new(true),
        committed: Notify::new(),
        batches: AtomicU64::new(0),
        commands: AtomicU64::new(0),
        conflicts: AtomicU64::new(0),
        lost: AtomicU64::new(0),
    });
    let worker =
        Worker { store, queue: commands, shared: Arc::clone(&shared), tidy_at: Instant::now() + TIDY_INTERVAL };
    tokio::spawn(worker.run());
    Committer { queue, shared }
}

// === impl Limits ===

impl Limits {
    /// Adds a line to `errors` for each bound outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut bound = |key: &str, value: usize, range: std::ops::RangeInclusive<usize>| {
            if !range.contains(&value) {
                errors.push(format!("{path}.{key} = {value}: must be from {} to {}", range.start(), range.end()));
            }
        };
        bound("batch_max", self.batch_max, 1..=8_192);
        bound("queue_max", self.queue_max, 1..=1_000_000);
    }
}

// === impl Committer ===

impl<R: Rules> Committer<R> {
    /// Hands a command to the worker and waits until its transaction is durable.
    ///
    /// Dropping the future does not take the command back.
    ///
    /// # Errors
    /// [`StoreError::Busy`] and [`StoreError::Stopped`] mean that nothing happened; after any other error the outcome
    /// is unknown until the same command is sent again.
    pub async fn submit(&self, command: R::Command) -> Result<R::Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Entry::Command(command, reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy { limit: self.shared.limits.queue_max },
            mpsc::error::TrySendError::Closed(_) => StoreError::Stopped,
        })?;
        // A worker that dies with the command in hand may have committed it.
        answer.await.unwrap_or_else(|_| Err(StoreError::Batch("the writer ended".to_owned())))
    }

    /// Lets the next commit mark outbox rows as published.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the worker has ended.
    pub async fn mark_published(&self, positions: Vec<i64>) -> Result<(), StoreError> {
        self.queue.send(Entry::Published(positions)).await.map_err(|_| StoreError::Stopped)
    }

    /// Resolves after a commit that happens later than the call; commits in between are not missed.
    pub async fn committed(&self) {
        self.shared.committed.notified().await;
    }

    /// Whether the worker is running and its queue has room.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if !self.shared.alive.load(Ordering::Relaxed) {
            return Err("the write worker has ended".to_owned());
        }
        if self.queue.capacity() == 0 {
            return Err("the write queue is full".to_owned());
        }
        Ok(())
    }

    /// What has been done so far.
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    /// Reads [`Self::totals`] later on, without keeping the worker alive.
    pub fn reading(&self) -> impl Fn() -> Totals + Clone + Send + Sync + use<R> {
        let shared = Arc::clone(&self.shared);
        move || shared.totals()
    }
}

// === impl Shared ===

impl Shared {
    fn totals(&self) -> Totals {
        let Self { batches, commands, conflicts, lost, .. } = self;
        let [batches, commands, conflicts, lost] =
            [batches, commands, conflicts, lost].map(|counter| counter.load(Ordering::Relaxed));
        Totals { batches, commands, conflicts, lost }
    }
}

impl<R: Rules> Clone for Committer<R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<R: Rules> fmt::Debug for Committer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("shared", &self.shared).finish_non_exhaustive()
    }
}

// === impl Worker ===

impl<R: Rules, S: Store<R>> Worker<R, S> {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _gone = OnDrop(|| shared.alive.store(false, Ordering::Relaxed));
        let batch_max = self.shared.limits.batch_max;
        let mut entries = Vec::with_capacity(batch_max);
        let mut published = Vec::new();
        loop {
            let received = if published.is_empty() {
                self.queue.recv_many(&mut entries, batch_max).await
            } else {
                let next = self.queue.recv_many(&mut entries, batch_max);
                tokio::time::timeout(MARKS_WAIT, next).await.unwrap_or_default()
            };
            let mut batch = Batch::from_entries(entries.drain(..));
            batch.published.append(&mut published);
            if received > 0 && batch.commands.is_empty() && batch.published.len() < MARKS_MAX {
                published = batch.published;
            } else if batch.commands.is_empty() && batch.published.is_empty() {
                return;
            } else {
                self.carry_out(batch).await;
            }
        }
    }

    async fn carry_out(&mut self, batch: Batch<R>) {
        match self.transact(&batch).await {
            Ok(answers) => {
                self.shared.batches.fetch_add(1, Ordering::Relaxed);
                self.shared.commands.fetch_add(u64::try_from(answers.len()).unwrap_or_default(), Ordering::Relaxed);
                if !answers.is_empty() {
                    self.shared.committed.notify_one();
                }
                for (reply, answer) in batch.replies.into_iter().zip(answers) {
                    // A caller that has gone away will ask again with its key.
                    drop(reply.send(Ok(answer)));
                }
            }
            Err(error) => {
                tracing::error!(%error, commands = batch.commands.len(), "batch failed");
                for reply in batch.replies {
                    drop(reply.send(Err(StoreError::Batch(error.to_string()))));
                }
            }
        }
    }

    async fn transact(&mut self, batch: &Batch<R>) -> Result<Vec<R::Answer>, StoreError> {
        let (mut conflicts, mut losses) = (1, 1);
        loop {
            let attempt = tokio::time::timeout(BATCH_WAIT, self.attempt(batch)).await;
            match attempt.unwrap_or(Err(StoreError::Slow { limit: BATCH_WAIT })) {
                Err(StoreError::Conflict(key)) if conflicts < CONFLICT_ROUNDS => {
                    tracing::debug!(key, conflicts, "another writer was first; deciding again");
                    self.shared.conflicts.fetch_add(1, Ordering::Relaxed);
                    self.store.session().rollback().await?;
                    conflicts += 1;
                }
                Err(error) if error.is_lost_connection() && losses < LOST_ROUNDS => {
                    tracing::warn!(%error, losses, "the connection broke; carrying the batch out again");
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                    self.store.session().rollback().await?;
                    losses += 1;
                }
                Err(error) => {
                    if let Err(rollback) = self.store.session().rollback().await {
                        tracing::error!(%rollback, "rollback failed");
                    }
                    return Err(error);
                }
                Ok(answers) => return Ok(answers),
            }
        }
    }

    async fn attempt(&mut self, batch: &Batch<R>) -> Result<Vec<R::Answer>, StoreError> {
        self.store.session().begin().await?;
        let mut answers = Vec::with_capacity(batch.commands.len());
        let now = if batch.commands.is_empty() {
            self.store.session().now().await?
        } else {
            let mut rows = self.store.load(&batch.commands).await?;
            let now = self.store.session().now().await?;
            answers.extend(batch.commands.iter().map(|command| R::decide(&mut rows, command, now)));
            self.store.save(&rows).await?;
            now
        };
        if !batch.published.is_empty() {
            self.store.session().mark_published(&batch.published, now).await?;
        }
        let is_tidying = Instant::now() >= self.tidy_at;
        if is_tidying {
            self.store.session().forget_records(now).await?;
        }
        self.store.session().commit().await?;
        if is_tidying {
            self.tidy_at = Instant::now() + TIDY_INTERVAL;
        }
        Ok(answers)
    }
}

// === impl Batch ===

impl<R: Rules> Batch<R> {
    fn from_entries(entries: impl Iterator<Item = Entry<R>>) -> Self {
        let mut batch = Self { commands: Vec::new(), replies: Vec::new(), published: Vec::new() };
        for entry in entries {
            match entry {
                Entry::Command(command, reply) => {
                    batch.commands.push(command);
                    batch.replies.push(reply);
                }
                Entry::Published(positions) => batch.published.extend(positions),
            }
        }
        batch
    }
}

/// Runs its function when dropped, also when the task around it panics.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests;
