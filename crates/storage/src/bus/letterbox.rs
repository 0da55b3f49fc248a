//! What a consumer's database remembers for it, beside the inbox: how far each lane is, and what was put aside.
//!
//! A letter is an event that was put aside: dead, because the consumer cannot take it for its own sake, or held, because
//! an earlier one of its lane is. A lane is blocked while it has letters, so that order holds whatever happens to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use spillway_types::{EventId, Timestamp};

use super::{Event, Lane};
use crate::{StoreError, database::Database};

mod memory;
mod postgres;
mod sqlite;

pub use self::memory::MemoryLetterbox;

/// How far a lane is, for one consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Highest sequence that was taken or put aside; 0 when none was.
    pub taken: i64,
    /// Whether there are letters, so that what comes now has to wait behind them.
    pub is_blocked: bool,
}

/// Why an event was put aside, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterState {
    /// It cannot be taken; an operator has to see to it.
    Dead,
    /// It waits for those before it.
    Held,
    /// It is to be offered again.
    Replay,
}

/// An event that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The event.
    pub event: Event,
    /// Why it lies here.
    pub state: LetterState,
    /// How often it was offered by itself.
    pub attempts: u32,
    /// What the latest attempt said.
    pub last_error: String,
}

/// A letter as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Who could not take it.
    pub consumer: String,
    /// The letter.
    pub letter: Letter,
    /// When it was put aside.
    pub put_aside_at: Timestamp,
}

/// Where a page of dead letters ends; the next begins behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageEnd {
    /// When its last letter was put aside.
    pub put_aside_at: Timestamp,
    /// The event.
    pub event_id: EventId,
    /// Whose letter it was.
    pub consumer: String,
}

/// How many letters there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCount {
    /// Events that cannot be taken.
    pub dead: u64,
    /// Events that wait behind them.
    pub held: u64,
}

/// A consumer's place in its own database. Replicas share it.
#[async_trait]
pub trait Letterbox: Send + Sync + fmt::Debug + 'static {
    /// How far each lane is; lanes that are not mentioned have not begun. What it says is true of one moment.
    async fn standings(&self, consumer: &str, lanes: &BTreeSet<Lane>) -> Result<BTreeMap<Lane, Standing>, StoreError>;

    /// Notes how far lanes are, where they are not further already.
    async fn advance(&self, consumer: &str, taken: &BTreeMap<Lane, i64>) -> Result<(), StoreError>;

    /// Puts events aside, and notes that their lanes are that far. A dead letter stays one when it is put aside as held;
    /// attempts add up.
    async fn put_aside(&self, consumer: &str, letters: &[Letter]) -> Result<(), StoreError>;

    /// Letters that may be offered again, lane by lane and in order: all of each lane that does not begin with a dead one,
    /// up to its first dead one.
    async fn due(&self, consumer: &str, limit: u32) -> Result<Vec<Letter>, StoreError>;

    /// Dead letters, and those to be replayed, oldest first; of one consumer, or of all when `consumer` is empty.
    async fn list(&self, consumer: &str, after: Option<&PageEnd>, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;

    /// Has dead letters offered again, all of the consumer's when `events` is empty, and says how many. Held ones follow
    /// by themselves.
    async fn replay(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError>;

    /// Takes letters away: they were taken after all, or an operator gives them up. What waited behind them is due then.
    async fn remove(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError>;

    /// How many letters there are, of all consumers.
    async fn count(&self) -> Result<LetterCount, StoreError>;
}

/// The letterbox of a service's consumers.
pub(crate) fn of(database: &Database) -> Arc<dyn Letterbox> {
    match database {
        Database::Sqlite(database) => Arc::new(sqlite::SqliteLetterbox::new(database)),
        Database::Postgres(database) => Arc::new(postgres::PgLetterbox::new(database.clone())),
    }
}

// === impl LetterState ===

impl LetterState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "DEAD",
            Self::Held => "HELD",
            Self::Replay => "REPLAY",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Dead, Self::Held, Self::Replay]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| StoreError::corrupt(format!("{text} is no state of a letter")))
    }
}

// === impl DeadLetter ===

impl DeadLetter {
    /// Where a page that ends with this one ends.
    pub fn page_end(&self) -> PageEnd {
        let (put_aside_at, event_id) = (self.put_aside_at, self.letter.event.event_id);
        PageEnd { put_aside_at, event_id, consumer: self.consumer.clone() }
    }
}
