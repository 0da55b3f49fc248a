//! What the whole-system tests share: a platform of their own, and a shopper.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not what it must be")]

pub mod faults;
pub mod participant;
pub mod shop;
