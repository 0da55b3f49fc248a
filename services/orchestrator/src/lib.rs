//! Orchestrator: carries orders through.
pub mod clients;
pub mod domain;
mod rpc;
pub mod saga;
pub mod store;
