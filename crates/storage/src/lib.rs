//! How a service keeps its state: one database a service, one writer a database, and everything that one business
//! change implies (row, journal, event, idempotency record) in one transaction.
//!
//! ```text
//!   rpc ── submit(command) ──► queue ──► worker: begin ─ load ─ decide* ─ save ─ commit ──► every caller's answer
//!                                          │                                      │
//!                                          └── the connection is the worker's     └── wakes the outbox relay ──► bus
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`group_commit`] | the worker above; a batch is what arrived while the last commit ran |
//! | [`sqlite`] | opening a SQLite file safely, migrations, the writer's session, binding whole batches |
//! | [`tracked`] | rows of a batch in memory, which know whether they are new or changed |
//! | [`idempotency`] | stored answers of calls whose domain row is not itself the record |
//! | [`outbox`] | events written with the change that caused them, and the relay that publishes them |
//! | [`bus`] | who hears of published events; in-process here |
//! | [`inbox`] | which events a consumer has taken already |
#![warn(missing_docs)]

pub mod bus;
pub mod error;
pub mod group_commit;
pub mod idempotency;
pub mod inbox;
pub mod outbox;
pub mod sqlite;
pub mod tracked;

pub use error::StoreError;
pub use group_commit::{Committer, Rules, Session, Store};
pub use tracked::Tracked;
