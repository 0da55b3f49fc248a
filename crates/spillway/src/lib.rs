//! Spillway's command: the whole platform in one process, and a person's way to it.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | settings of the whole platform, one document |
//! | [`platform`] | five services in one process |
//! | [`verify`] | the invariants, over the databases |
//! | [`demo`] | a flash sale on the real platform, with the proof at the end |
//! | [`commands`] | what can be typed, a file each |
//! | `cli`, `client`, `output` | arguments, the way to the platform, and how answers look |
#![warn(missing_docs)]

mod cli;
mod client;
pub mod commands;
pub mod config;
pub mod demo;
mod output;
pub mod platform;
pub mod verify;
