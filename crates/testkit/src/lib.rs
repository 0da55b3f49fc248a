//! What tests of the platform share: real processes that can be killed, servers for their data, and networks that fail.
//!
//! | module | holds |
//! |---|---|
//! | [`process`] | a real binary under test: started, waited for, killed |
//! | [`ports`] | free loopback ports |
//! | [`proxy`] | a TCP proxy that delays, holds up, drips and cuts |
//! | [`servers`] | throwaway Postgres and Redis |
#![warn(missing_docs)]

pub mod ports;
pub mod process;
pub mod proxy;
pub mod servers;
mod signal;
