//! The saga engine against model participants that keep the six promises, in paused time. The suites iterate the
//! definition, so that a step which is added there is covered here.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test; helpers outside test functions count as such too"
)]

mod chance;
mod engine;
mod exhaustion;
mod harness;
mod model;
mod replicas;
mod waiting;
