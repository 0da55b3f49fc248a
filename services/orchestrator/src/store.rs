//! The saga log, kept by group commit.

use std::{collections::BTreeMap, sync::Arc};

use spillway_saga::{
    Log, LogError, Record, SagaId, SagaRow,
    log::{Due, Listing, Signal, Started},
};
use spillway_storage::{Committer, Rules, StoreError, Tracked, database::Schema};
use spillway_types::{Timestamp, id::Partition};

use crate::DATABASE;

pub mod opened;
pub mod postgres;
pub mod sqlite;
mod text;

pub use self::opened::{Opened, open};

/// The tables, as each kind of database has them.
pub const SCHEMA: Schema = Schema { file: DATABASE, sqlite: sqlite::STEPS, postgres: postgres::STEPS };

/// Something to be written to the log.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new saga, unless its key is taken.
    Start(Box<SagaRow>),
    /// A record of a saga, written under an epoch.
    Record(SagaId, i64, Box<Record>, Timestamp),
    /// Word for whoever drives a saga.
    Post(SagaId, Box<Signal>),
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The saga was started, or the key was taken.
    Started(Started),
    /// The record is written.
    Recorded,
    /// The word is left; this is the row then, if there is one.
    Posted(Option<Box<SagaRow>>),
}

/// The rows that one batch touches.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) sagas: Tracked<SagaId, SagaRow>,
    /// Sagas by the keys that this batch wants to take.
    pub(crate) keys: BTreeMap<String, SagaId>,
    /// What may be written by whom.
    pub(crate) fences: Fences,
    /// How much of the batch was refused since it was written under a lease that is somebody else's by now.
    pub(crate) refused: usize,
}

/// The epoch of each partition that a batch touches, locked.
#[derive(Debug, Default)]
pub(crate) enum Fences {
    /// Partitions are not leased: the log is one process's.
    #[default]
    None,
    /// Only what is written under these epochs is taken.
    Epochs(BTreeMap<Partition, i64>),
}

/// The log's rules, as group commit wants them: what may follow what is the saga crate's word.
#[derive(Clone, Copy, Debug)]
pub struct SagaLog;

/// The log over a committer, for what is written, and a reader, for the rest.
#[derive(Clone, Debug)]
pub struct DurableLog {
    committer: Committer<SagaLog>,
    reader: Arc<dyn Reader>,
}

// === impl SagaLog ===

impl Rules for SagaLog {
    type Command = Command;
    type Answer = Result<Answer, LogError>;
    type Rows = Rows;

    fn decide(rows: &mut Rows, command: &Command, _: Timestamp) -> Result<Answer, LogError> {
        match command {
            Command::Start(row) => {
                let known = rows.keys.get(&row.key).and_then(|id| rows.sagas.get(id));
                if let Some(known) = known {
                    return Ok(Answer::Started(Started::Existing(Box::new(known.clone()))));
                }
                rows.check_lease(row.id, row.epoch)?;
                rows.keys.insert(row.key.clone(), row.id);
                rows.sagas.put(row.id, row.as_ref().clone());
                Ok(Answer::Started(Started::New))
            }
            Command::Record(id, epoch, record, at) => {
                rows.check_lease(*id, *epoch)?;
                let mut row = rows.sagas.get(id).ok_or(LogError::Missing(*id))?.clone();
                row.apply(*epoch, record.as_ref().clone(), *at)?;
                rows.sagas.put(*id, row);
                Ok(Answer::Recorded)
            }
            Command::Post(id, signal) => {
                let Some(row) = rows.sagas.get(id) else { return Ok(Answer::Posted(None)) };
                let mut row = row.clone();
                if row.tell(signal) {
                    rows.sagas.put(*id, row.clone());
                }
                Ok(Answer::Posted(Some(Box::new(row))))
            }
        }
    }
}

// === impl Rows ===

impl Rows {
    fn check_lease(&mut self, id: SagaId, epoch: i64) -> Result<(), LogError> {
        match &self.fences {
            Fences::None => Ok(()),
            Fences::Epochs(epochs) if epochs.get(&id.partition()) == Some(&epoch) => Ok(()),
            Fences::Epochs(_) => {
                self.refused += 1;
                Err(LogError::Fenced(id))
            }
        }
    }
}

// === impl DurableLog ===

impl DurableLog {
    /// A log over a database's two ends.
    pub const fn new(committer: Committer<SagaLog>, reader: Arc<dyn Reader>) -> Self {
        Self { committer, reader }
    }

    async fn submit(&self, command: Command) -> Result<Answer, LogError> {
        self.committer.submit(command).await.map_err(unavailable)?
    }
}

#[async_trait::async_trait]
impl Log for DurableLog {
    async fn start(&self, row: SagaRow) -> Result<Started, LogError> {
        match self.submit(Command::Start(Box::new(row))).await? {
            Answer::Started(started) => Ok(started),
            Answer::Recorded | Answer::Posted(_) => Err(mixed_up()),
        }
    }

    async fn record(&self, id: SagaId, epoch: i64, record: Record, at: Timestamp) -> Result<(), LogError> {
        self.submit(Command::Record(id, epoch, Box::new(record), at)).await.map(drop)
    }

    async fn post(&self, id: SagaId, signal: Signal) -> Result<Option<SagaRow>, LogError> {
        match self.submit(Command::Post(id, Box::new(signal))).await? {
            Answer::Posted(row) => {
                if row.as_ref().is_some_and(|row| row.has_word()) {
                    self.reader.tell().await;
                }
                Ok(row.map(|row| *row))
            }
            Answer::Recorded | Answer::Started(_) => Err(mixed_up()),
        }
    }

    async fn posted(&self) {
        self.reader.posted().await;
    }

    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, LogError> {
        self.reader.load(id).await.map_err(unavailable)
    }

    async fn load_all(&self, ids: &[SagaId]) -> Result<Vec<SagaRow>, LogError> {
        self.reader.load_all(ids).await.map_err(unavailable)
    }

    async fn find(&self, key: &str) -> Result<Option<SagaRow>, LogError> {
        self.reader.find(key).await.map_err(unavailable)
    }

    async fn due(&self, query: Due) -> Result<Vec<SagaRow>, LogError> {
        self.reader.due(query).await.map_err(unavailable)
    }

    async fn list(&self, query: Listing) -> Result<Vec<SagaRow>, LogError> {
        self.reader.list(query).await.map_err(unavailable)
    }
}

/// What can be read beside the writer.
#[async_trait::async_trait]
pub trait Reader: std::fmt::Debug + Send + Sync + 'static {
    /// A saga by its id.
    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError>;
    /// Several sagas, in any order.
    async fn load_all(&self, ids: &[SagaId]) -> Result<Vec<SagaRow>, StoreError>;
    /// A saga by its caller's key.
    async fn find(&self, key: &str) -> Result<Option<SagaRow>, StoreError>;
    /// Sagas that may need a driver, oldest first.
    async fn due(&self, query: Due) -> Result<Vec<SagaRow>, StoreError>;
    /// Sagas for people, newest first.
    async fn list(&self, query: Listing) -> Result<Vec<SagaRow>, StoreError>;
    /// Announces that somebody has left word for the driver of a saga. Nothing depends on its being heard.
    async fn tell(&self) {}
    /// Returns when some process may have left word for the driver of a saga; never, where there is one process only.
    async fn posted(&self) {
        std::future::pending().await
    }
    /// Whether the store answers.
    async fn check(&self) -> Result<(), StoreError>;
}

fn mixed_up() -> LogError {
    LogError::Unavailable("the log mixed up its answers".to_owned())
}

fn unavailable(error: StoreError) -> LogError {
    LogError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;
