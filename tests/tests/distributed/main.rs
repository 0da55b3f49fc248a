//! The platform as real processes, two of each service, on a Postgres and a Redis of its own: while a crowd buys out an
//! item, processes and servers are killed, frozen, emptied, restarted and cut off. In the end every buyer was told the
//! truth, exactly the stock is sold, all sagas have ended, news has reached every order, the gate equals the ledger, and
//! `verify` finds nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is a test: it fails by panicking, and says what it did; helpers outside test functions count as such too"
)]

mod freeze;
mod kill;
mod network;
mod redis;
mod rolling;
mod sale;
