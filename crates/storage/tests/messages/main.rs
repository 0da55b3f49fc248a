//! Events from outbox to inbox, on real servers: relays, buses and what consumers remember.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it did"
)]

mod bus;
mod chaos;
mod common;
mod letterbox;
mod lots;
mod outage;
mod outbox;
mod redis;
