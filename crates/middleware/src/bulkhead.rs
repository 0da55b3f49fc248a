//! A bulkhead: so many calls in flight to a target, and no waiting for a place.
//!
//! A slow target fills its own places and not those of its neighbours. The place is taken in `call` and never in
//! `poll_ready`: a client that is ready but idle would hold it. It is given back when the answer's body ends or is
//! dropped, where tower's `ConcurrencyLimit` gives it back at the headers.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use spillway_types::{Code, Fault, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    balance::Handback,
    classify::{Observed, Observer},
    config::BulkheadConfig,
    policy::{Kind, Policies},
    status::from_fault,
};

/// Refuses calls beyond a number in flight.
#[derive(Clone, Debug)]
pub(crate) struct Bulkhead<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// One call's place; given back on drop.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

#[derive(Debug)]
struct Shared {
    policies: Policies,
    config: BulkheadConfig,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

// === impl Bulkhead ===

impl<S> Bulkhead<S> {
    pub(crate) fn new(inner: S, config: &BulkheadConfig, policies: &Policies) -> Self {
        let shared = Shared {
            policies: policies.clone(),
            config: config.clone(),
            reads: Arc::new(Semaphore::new(config.reads)),
            writes: Arc::new(Semaphore::new(config.writes)),
            streams: Arc::new(Semaphore::new(config.streams)),
        };
        Self { inner, shared: Arc::new(shared) }
    }

    /// Places that are free, for reads.
    #[cfg(test)]
    pub(crate) fn free_reads(&self) -> usize {
        self.shared.reads.available_permits()
    }
}

impl<S, B> Service<Request<Body>> for Bulkhead<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Response = Response<Observed<B, Place>>;
    type Error = Status;
    type Future = BoxFuture<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let place = match self.shared.enter(request.uri().path()) {
            Ok(place) => place,
            Err(fault) => {
                Handback::give(request);
                return Box::pin(async { Err(from_fault(fault)) });
            }
        };
        let call = self.inner.call(request);
        Box::pin(async move { Ok(Observed::watch(call.await?, place)) })
    }
}

// === impl Shared ===

impl Shared {
    fn enter(&self, path: &str) -> Result<Place, Fault> {
        let (places, limit, name) = match self.policies.of(path).kind {
            Kind::Read => (&self.reads, self.config.reads, "reads"),
            Kind::Write => (&self.writes, self.config.writes, "writes"),
            Kind::Stream => (&self.streams, self.config.streams, "streams"),
        };
        Arc::clone(places).try_acquire_owned().map(Place).map_err(|_| {
            Fault::new(Reason::BulkheadFull, format!("{limit} {name} are in flight already; try again shortly"))
                .with("limit", name)
        })
    }
}

// === impl Place ===

impl Observer for Place {
    fn ended(self, _: Code) {}
}

#[cfg(test)]
mod tests;
