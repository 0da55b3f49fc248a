//! The saga log, kept by group commit.

use std::collections::BTreeMap;

use spillway_saga::{
    Log, LogError, Record, SagaId, SagaRow,
    log::{Due, Listing, Started},
};
use spillway_storage::{Committer, Rules, StoreError, Tracked};
use spillway_types::Timestamp;

pub mod sqlite;

/// Something to be written to the log.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new saga, unless its key is taken.
    Start(Box<SagaRow>),
    /// A record of a saga.
    Record(SagaId, Box<Record>, Timestamp),
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The saga was started, or the key was taken.
    Started(Started),
    /// The record is written.
    Recorded,
}

/// The rows that one batch touches.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) sagas: Tracked<SagaId, SagaRow>,
    /// Sagas by the keys that this batch wants to take.
    pub(crate) keys: BTreeMap<String, SagaId>,
}

/// The log's rules, as group commit wants them: what may follow what is the saga crate's word.
#[derive(Clone, Copy, Debug)]
pub struct SagaLog;

/// The log over a committer, for what is written, and a reader, for the rest.
#[derive(Clone, Debug)]
pub struct DurableLog<R> {
    committer: Committer<SagaLog>,
    reader: R,
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
                rows.keys.insert(row.key.clone(), row.id);
                rows.sagas.put(row.id, row.as_ref().clone());
                Ok(Answer::Started(Started::New))
            }
            Command::Record(id, record, at) => {
                let mut row = rows.sagas.get(id).ok_or(LogError::Missing(*id))?.clone();
                row.apply(record.as_ref().clone(), *at)?;
                rows.sagas.put(*id, row);
                Ok(Answer::Recorded)
            }
        }
    }
}

// === impl DurableLog ===

impl<R> DurableLog<R> {
    /// A log over a database's two ends.
    pub const fn new(committer: Committer<SagaLog>, reader: R) -> Self {
        Self { committer, reader }
    }

    async fn submit(&self, command: Command) -> Result<Answer, LogError> {
        self.committer.submit(command).await.map_err(unavailable)?
    }
}

#[async_trait::async_trait]
impl<R: Reader> Log for DurableLog<R> {
    async fn start(&self, row: SagaRow) -> Result<Started, LogError> {
        match self.submit(Command::Start(Box::new(row))).await? {
            Answer::Started(started) => Ok(started),
            Answer::Recorded => Err(LogError::Unavailable("the log mixed up its answers".to_owned())),
        }
    }

    async fn record(&self, id: SagaId, record: Record, at: Timestamp) -> Result<(), LogError> {
        self.submit(Command::Record(id, Box::new(record), at)).await.map(drop)
    }

    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, LogError> {
        self.reader.load(id).await.map_err(unavailable)
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
pub trait Reader: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// A saga by its id.
    async fn load(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError>;
    /// A saga by its caller's key.
    async fn find(&self, key: &str) -> Result<Option<SagaRow>, StoreError>;
    /// Sagas that may need a driver, oldest first.
    async fn due(&self, query: Due) -> Result<Vec<SagaRow>, StoreError>;
    /// Sagas for people, newest first.
    async fn list(&self, query: Listing) -> Result<Vec<SagaRow>, StoreError>;
    /// Whether the store answers.
    async fn check(&self) -> Result<(), StoreError>;
}

fn unavailable(error: StoreError) -> LogError {
    LogError::Unavailable(error.to_string())
}
