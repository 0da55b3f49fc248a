//! The tower layers that every call of the platform passes, composed as one client and one server.
//!
//! ```text
//!  client                              server
//!  │ trace            span, W3C out    │ trace            W3C in, span
//!  │ deadline         what is left     │ deadline         refuse, make current, end
//!  │ retry + budget   edge only        ▼ handler
//!  │ balancer         picks an endpoint
//!  │ breaker          per endpoint
//!  │ bulkhead         calls in flight
//!  │ attempt timeout  per attempt
//!  ▼ transport        a kept connection
//! ```
//!
//! [`stack`] says why each rung is where it is, and is all that a caller needs beside a [`ClientConfig`] or
//! [`ServerConfig`] and the [`Policies`] of its methods. Errors are [`spillway_types::Fault`]s: see [`status`].
#![warn(missing_docs)]

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use tonic::Status;

pub mod config;
pub mod deadline;
pub mod policy;
pub mod stack;
pub mod status;

mod attempt_timeout;
mod balance;
mod breaker;
mod budget;
mod bulkhead;
mod classify;
mod median;
mod retry;
mod timed;
mod trace;
mod transport;

pub use balance::{BadPeers, Peers};
pub use config::{ClientConfig, ServerConfig};
pub use policy::{Kind, Policies, Policy};
pub use stack::{Client, Preset, ServerStack, client, server};
pub use trace::TARGET as TRACE_TARGET;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the rungs need of a response body.
pub trait ResponseBody: http_body::Body<Data = Bytes, Error = Status> + Send + 'static {}

impl<B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static> ResponseBody for B {}

#[cfg(test)]
mod testing;
