//! What the whole-system tests share: a platform of their own, and a shopper.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where something is not what it must be, and says what it did"
)]

pub mod cluster;
pub mod crowd;
pub mod faults;
pub mod participant;
pub mod shop;
