//! Spillway's command: the whole platform in one process, and a person's way to it.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | settings of the whole platform, one document |
//! | [`platform`] | five services in one process |
#![warn(missing_docs)]

pub mod config;
pub mod platform;
