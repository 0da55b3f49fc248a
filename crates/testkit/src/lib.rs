//! What tests of the platform share: real processes that can be killed, and ports to run them on.
//!
//! | module | holds |
//! |---|---|
//! | [`process`] | a real binary under test: started, waited for, killed |
//! | [`ports`] | free loopback ports |
#![warn(missing_docs)]

pub mod ports;
pub mod process;
