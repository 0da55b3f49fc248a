//! The saga engine: carries a graph of typed steps through, or undoes it, whatever crashes meanwhile. It knows nothing of
//! orders, gRPC or SQL.
//!
//! ```text
//!            start, turn_back, signal
//!   caller ─────────────────────────► Engine ── adopts what the log says is due, paced ◄── recovery
//!     ▲                                 │ one driver a saga
//!     │ Handle: answer, settled         ▼
//!     └──────── Snapshot ◄────────── Driver ── todo ─► Progress (pure)
//!                                     │   │ ◄─ apply ─┘
//!                          few records│   │calls, side by side
//!                                     ▼   ▼
//!                                   Log   Step::run, Compensate::compensate ──► participants
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`step`] | what an author writes: [`Saga`], [`Step`], [`Compensate`], and what they answer |
//! | [`context`] | what a step sees when it is called |
//! | [`definition`] | steps in their order, checked by the builder; [`plan`] is the shape |
//! | [`policy`] | attempt timeout, back-off, patience |
//! | [`state`] | the pure function that says what may follow what in the log |
//! | `progress` | the pure function that says what a saga does next, running and recovering alike |
//! | [`log`] | the durable log's trait and row; [`memory_log`] is one for tests |
//! | [`territory`] | which sagas a process may drive, and under which epochs |
//! | [`engine`] | drivers, recovery, handles, views of what other processes drive |
//! | [`snapshot`] | a saga as it is seen from outside |
//!
//! Durable writes are few, because participants answer the same command the same way twice: a saga that crashed while
//! going forward is simply run again from its first step. `started` is durable before the first step is sent,
//! `compensating` before the first compensation after the arbiter's, `waiting` and `parked` before the saga leaves
//! memory, and a refusal before it is answered. For a completed saga's `finished` nobody waits.
#![warn(missing_docs)]

pub mod context;
pub mod definition;
pub mod engine;
pub mod log;
pub mod memory_log;
pub mod plan;
pub mod policy;
mod progress;
pub mod snapshot;
pub mod state;
pub mod step;
pub mod territory;

pub use context::{Cause, Context, SagaId, Trigger};
pub use definition::{Definition, DefinitionBuilder, StepInfo};
pub use engine::{Engine, EngineConfig, EngineError, Handle, NewSaga, StartError, Started};
pub use log::{Log, LogError, Record, SagaRow, Signal, StepState};
pub use memory_log::MemoryLog;
pub use plan::{DefinitionError, Kind};
pub use policy::{Backoff, StepPolicy};
pub use snapshot::{Fate, Snapshot, StepView};
pub use state::{End, Status};
pub use step::{Compensate, Outcome, Saga, Step, Undo, Unknown};
pub use territory::Territory;
