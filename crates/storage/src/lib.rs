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
//! | [`config`] | where state is kept, as settings |
//! | [`database`] | a service's database, whichever kind the settings name |
//! | [`postgres`] | a server's database: limits on everything, the writer's session, the tables that all services share |
//! | [`resources`] | what a service is opened with |
//! | [`redis`] | a shared Redis, which may be gone at any moment |
//! | [`sqlite`] | opening a SQLite file safely, migrations, the writer's session, binding whole batches |
//! | [`tracked`] | rows of a batch in memory, which know whether they are new or changed |
//! | [`idempotency`] | stored answers of calls whose domain row is not itself the record |
//! | [`outbox`] | events written with the change that caused them, and the relay that publishes them |
//! | [`bus`] | who hears of published events, within a process or over Redis Streams; dead letters |
//! | [`leases`] | which replica works on which partitions |
//! | [`metrics`] | what a store shows of itself |
//! | [`inbox`] | which events a consumer has taken already |
#![warn(missing_docs)]

pub mod bus;
pub mod config;
pub mod database;
pub mod error;
pub mod group_commit;
pub mod idempotency;
pub mod inbox;
pub mod leases;
pub mod metrics;
pub mod outbox;
pub mod postgres;
pub mod redis;
pub mod resources;
mod spare;
pub mod sqlite;
pub mod tracked;

pub use config::DataConfig;
pub use error::StoreError;
pub use group_commit::{Committer, Rules, Session, Store};
pub use resources::Resources;
pub use tracked::Tracked;
