//! A log in memory, for tests. It keeps rows exactly as a durable one must, and can stop dead before or after a given
//! write, as a crash would.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use spillway_types::{Timestamp, id::Partition};
use tokio::{sync::Notify, time::sleep};

use crate::{
    context::SagaId,
    log::{Due, Listing, Log, LogError, Record, SagaRow, Signal, Started},
};

/// A log in memory. Clones share their rows.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

/// On which side of a write the log stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The write never happens.
    Before,
    /// The write happened, and nobody hears of it.
    After,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    crashed: Notify,
    posted: Notify,
}

#[derive(Debug, Default)]
struct State {
    rows: HashMap<SagaId, SagaRow>,
    /// Every record in the order in which it was written, with its epoch; without a record it is a start.
    written: Vec<(SagaId, i64, Option<Record>)>,
    /// Epochs of partitions. What is written under another one is refused; without one, nothing is.
    fences: HashMap<Partition, i64>,
    crash: Option<(usize, Moment)>,
    failures: u32,
    latency: Duration,
    dead: bool,
}

// === impl MemoryLog ===

impl MemoryLog {
    /// Stops dead at the `n`-th write from now (0 is the next): from then on no call returns, until [`Self::revive`].
    pub fn crash_at(&self, n: usize, moment: Moment) {
        let mut state = self.lock();
        let at = state.written.len() + n;
        state.crash = Some((at, moment));
    }

    /// Fails the next `n` writes with [`LogError::Unavailable`], without doing them.
    pub fn fail_next(&self, n: u32) {
        self.lock().failures = n;
    }

    /// Makes every write take that long, half of it before it happens and half after.
    pub fn slow_down(&self, by: Duration) {
        self.lock().latency = by;
    }

    /// Returns once the log has stopped.
    pub async fn crashed(&self) {
        let stopped = self.inner.crashed.notified();
        if !self.lock().dead {
            stopped.await;
        }
    }

    /// Lets calls return again. Those that hang are hung for ever.
    pub fn revive(&self) {
        let mut state = self.lock();
        state.dead = false;
        state.crash = None;
    }

    /// A row as it is now.
    pub fn row(&self, id: SagaId) -> Option<SagaRow> {
        self.lock().rows.get(&id).cloned()
    }

    /// What was written of a saga after its start, in order.
    pub fn records(&self, id: SagaId) -> Vec<Record> {
        self.lock().written.iter().filter(|(of, ..)| *of == id).filter_map(|(.., record)| record.clone()).collect()
    }

    /// The epochs under which a saga was written, in order.
    pub fn epochs(&self, id: SagaId) -> Vec<i64> {
        self.lock().written.iter().filter(|(of, ..)| *of == id).map(|(_, epoch, _)| *epoch).collect()
    }

    /// Raises a partition's epoch, and says to what: from now on, only what is written under it is taken.
    pub fn fence(&self, partition: Partition) -> i64 {
        let mut state = self.lock();
        let epoch = state.fences.entry(partition).or_default();
        *epoch += 1;
        *epoch
    }

    /// How many writes there were, starts included.
    pub fn writes(&self) -> usize {
        self.lock().written.len()
    }

    /// Puts a row there as it is, as an older or newer version of the program might have left it.
    pub fn put(&self, row: SagaRow) {
        self.lock().rows.insert(row.id, row);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one write, with whatever was arranged to happen to it.
    async fn write(
        &self,
        id: SagaId,
        (epoch, record): (i64, Option<Record>),
        act: impl FnOnce(&mut State) -> Result<(), LogError> + Send,
    ) -> Result<(), LogError> {
        let pause = self.lock().latency / 2;
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let done = {
            let mut state = self.lock();
            let crash = state.crash.filter(|(at, _)| *at == state.written.len()).map(|(_, moment)| moment);
            if state.dead || crash == Some(Moment::Before) {
                state.dead = true;
                None
            } else if state.failures > 0 {
                state.failures -= 1;
                Some(Err(LogError::Unavailable("arranged".to_owned())))
            } else {
                state.check(id, epoch)?;
                act(&mut state)?;
                state.written.push((id, epoch, record));
                state.dead = crash.is_some();
                (!state.dead).then_some(Ok(()))
            }
        };
        let Some(done) = done else {
            self.inner.crashed.notify_waiters();
            return pending().await;
        };
        if !pause.is_zero() {
            sleep(pause).await;
        }
        done
    }

    async fn read<T>(&self, act: impl FnOnce(&State) -> T + Send) -> Result<T, LogError> {
        let found = {
            let state = self.lock();
            (!state.dead).then(|| act(&state))
        };
        match found {
            Some(found) => Ok(found),
            None => pending().await,
        }
    }
}

// === impl State ===

impl State {
    fn check(&self, id: SagaId, epoch: i64) -> Result<(), LogError> {
        let fence = self.fences.get(&id.partition());
        if fence.is_some_and(|fence| *fence != epoch) { Err(LogError::Fenced(id)) } else { Ok(()) }
    }
}

// === impl Log ===

#[async_trait]
impl Log for MemoryLog {
    async fn start(&self, row: SagaRow) -> Result<Started, LogError> {
        if let Some(existing) = self.find(&row.key).await? {
            return Ok(Started::Existing(Box::new(existing)));
        }
        // Another caller may take the key while this one is being written.
        let mut winner = None;
        let insert = |state: &mut State| {
            winner = state.rows.values().find(|known| known.key == row.key).cloned();
            if winner.is_none() {
                state.rows.insert(row.id, row.clone());
            }
            Ok(())
        };
        self.write(row.id, (row.epoch, None), insert).await?;
        Ok(winner.map_or(Started::New, |row| Started::Existing(Box::new(row))))
    }

    async fn record(&self, id: SagaId, epoch: i64, record: Record, at: Timestamp) -> Result<(), LogError> {
        let told = record.clone();
        let apply = |state: &mut State| {
            let row = state.rows.get_mut(&id).ok_or(LogError::Missing(id))?;
            row.apply(epoch, record, at)
        };
        self.write(id, (epoch, Some(told)), apply).await
    }

    async fn post(&self, id: SagaId, signal: Signal) -> Result<Option<SagaRow>, LogError> {
        let told = {
            let mut state = self.lock();
            (!state.dead).then(|| {
                let row = state.rows.get_mut(&id)?;
                row.tell(&signal);
                Some(row.clone())
            })
        };
        let Some(row) = told else { return pending().await };
        self.inner.posted.notify_waiters();
        Ok(row)
    }

    async fn posted(&self) {
        self.inner.posted.notified().await;
    }

    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, LogError> {
        self.read(|state| state.rows.get(&id).cloned()).await
    }

    async fn load_all(&self, ids: &[SagaId]) -> Result<Vec<SagaRow>, LogError> {
        self.read(|state| ids.iter().filter_map(|id| state.rows.get(id).cloned()).collect()).await
    }

    async fn find(&self, key: &str) -> Result<Option<SagaRow>, LogError> {
        self.read(|state| state.rows.values().find(|row| row.key == key).cloned()).await
    }

    async fn due(&self, query: Due) -> Result<Vec<SagaRow>, LogError> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        self.read(|state| {
            let is_after = |row: &&SagaRow| query.after.is_none_or(|place| (row.created, row.id) > place);
            let rows = state.rows.values().filter(|row| query.includes(row)).filter(is_after);
            let mut rows: Vec<_> = rows.cloned().collect();
            rows.sort_by_key(|row| (row.created, row.id));
            rows.truncate(limit);
            rows
        })
        .await
    }

    async fn list(&self, query: Listing) -> Result<Vec<SagaRow>, LogError> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        self.read(|state| {
            let has_status = |row: &&SagaRow| query.statuses.is_empty() || query.statuses.contains(&row.status);
            let is_before = |row: &&SagaRow| query.before.is_none_or(|place| (row.created, row.id) < place);
            let mut rows: Vec<_> = state.rows.values().filter(has_status).filter(is_before).cloned().collect();
            rows.sort_by_key(|row| std::cmp::Reverse((row.created, row.id)));
            rows.truncate(limit);
            rows
        })
        .await
    }
}
