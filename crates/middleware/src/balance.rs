//! Chooses one of several endpoints for each call: power of two choices on what a call to them costs.
//!
//! The cost is the number of calls in flight there, made worse by what failed lately: an endpoint that fails fast has
//! few calls in flight, and would attract more. Latency needs no estimate of its own, since a slow endpoint has more in
//! flight; estimates of it swing when one disk stalls. Left alone are endpoints without a connection, those that said
//! that they are going, and those whose breaker is open; when nothing else is there, one of the latter is tried anyway.
//!
//! Every endpoint has its guards for itself. A call that none of them has let through, or that found its connection
//! closed, was never sent, and goes on to another endpoint whatever method it is: the rungs that refuse it hand the
//! request back. One that crosses a GOAWAY on its way is UNAVAILABLE, which costs its caller a retry. Not tonic's balanced channel: it takes every endpoint for equally busy, queues calls behind
//! connections that may never come, and does not say whether a failed call was sent.

mod endpoint;
mod handback;
mod link;
mod load;
mod peers;
mod quota;
mod set;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use spillway_types::{Class, Reason};
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    breaker::Watch,
    bulkhead::Place,
    classify::Observed,
    status::{from_tonic, to_fault},
    timed::Timed,
};

use load::Flight;
use set::Tried;

pub use peers::{BadPeers, Peers};

pub(crate) use {
    endpoint::{Guarded, Reach, Trouble},
    handback::Handback,
    link::{Link, NotConnected},
    peers::{Address, keep_resolved},
    quota::{Leave, Quota},
    set::Set,
};

/// A call may be handed back this often before its failure is the caller's: enough for a handful of endpoints that all
/// went away since they were looked at, and an end to bad luck.
const SENDS_MAX: usize = 8;

/// The body of an answer, through all the guards of its endpoint.
pub(crate) type Balanced<B> = Observed<Observed<Observed<Timed<B>, Place>, Watch>, Flight>;

/// Sends each call to one of a set of endpoints.
#[derive(Debug)]
pub(crate) struct Balance<S> {
    set: Arc<Set<S>>,
}

// === impl Balance ===

impl<S> Balance<S> {
    pub(crate) fn new(set: Arc<Set<S>>) -> Self {
        Self { set }
    }
}

impl<S> Clone for Balance<S> {
    fn clone(&self) -> Self {
        Self { set: Arc::clone(&self.set) }
    }
}

impl<S, B> Service<Request<Body>> for Balance<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Reach + Clone + Send + Sync + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Response = Response<Balanced<B>>;
    type Error = Status;
    type Future = BoxFuture<Result<Self::Response, Status>>;

    /// Always ready: where a call goes, and whether it can, is found out when it is made.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(run(Arc::clone(&self.set), request))
    }
}

async fn run<S, B>(set: Arc<Set<S>>, mut request: Request<Body>) -> Result<Response<Balanced<B>>, Status>
where
    S: Service<Request<Body>, Response = Response<B>> + Reach + Clone + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    let mut tried = Tried::default();
    for _ in 0..SENDS_MAX {
        let endpoint = set.endpoint(&mut tried).await?;
        let back = Handback::attach(&mut request);
        let failure = match endpoint.send(request).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        let Some(unsent) = back.take() else { return Err(failure) };
        request = unsent;
        // A lost connection shows in the endpoint itself, and may be back in a moment; a guard's refusal stands.
        tried.note(&endpoint, failure);
    }
    Err(tried.failure())
}

/// Whether a failure is one of the endpoint: the same rule as the breaker's.
fn is_bad(class: Class) -> bool {
    matches!(class, Class::Transient | Class::Overload | Class::Unknown)
}

/// Whether an answer says that the process behind it is going.
fn is_leaving(status: &Status) -> bool {
    from_tonic(status.code()).class() == Class::Transient && to_fault(status).reason == Reason::Draining
}

#[cfg(test)]
mod tests;
