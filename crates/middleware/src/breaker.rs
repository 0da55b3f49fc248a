//! A circuit breaker: leaves a target alone that fails or has become slow, and probes it until it is well.
//!
//! Failures are UNAVAILABLE, RESOURCE_EXHAUSTED and unknown outcomes (DEADLINE_EXCEEDED, INTERNAL, UNKNOWN and the
//! like). A business refusal is an answer of a target that is well: in a sold-out sale nearly every answer is one. A
//! caller that goes away and a refusal of our own bulkhead say nothing about the target.
//!
//! Refuses in `call` with UNAVAILABLE and the time to wait; never in `poll_ready`, where nobody would wake the caller.

mod state;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use spillway_types::{Class, Code, Fault, Reason};
use tokio::time::Instant;
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    balance::{Handback, Quota},
    classify::{Observed, Observer},
    config::{AttemptConfig, BreakerConfig},
    policy::{Kind, Policies},
    status::{from_fault, from_tonic, to_fault},
};

use state::{Machine, Outcome, ROLL_MAX, Ticket};

/// Guards one target.
#[derive(Clone, Debug)]
pub(crate) struct Breaker<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// A call on its way; dropped without an outcome it counts as ignored, and gives a probe's permit back.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    began: Instant,
    slow_from: Duration,
}

#[derive(Debug)]
struct Shared {
    policies: Policies,
    attempt: AttemptConfig,
    slow_at_percent: u32,
    origin: Instant,
    machine: Mutex<Machine>,
    /// Until when every call is refused, in microseconds since the origin: for those who ask before they call.
    open_until: AtomicU64,
}

// === impl Breaker ===

impl<S> Breaker<S> {
    /// A breaker that opens only when it gets leave of `quota`.
    pub(crate) fn new(
        inner: S,
        config: &BreakerConfig,
        attempt: &AttemptConfig,
        policies: &Policies,
        quota: &Arc<Quota>,
    ) -> Self {
        let shared = Shared {
            policies: policies.clone(),
            attempt: attempt.clone(),
            slow_at_percent: config.slow_at_percent,
            origin: Instant::now(),
            machine: Mutex::new(Machine::new(config, quota)),
            open_until: AtomicU64::new(0),
        };
        Self { inner, shared: Arc::new(shared) }
    }

    /// Whether it would refuse a call. A breaker that probes may still do so.
    pub(crate) fn is_open(&self) -> bool {
        u128::from(self.shared.open_until.load(Ordering::Relaxed)) > self.shared.origin.elapsed().as_micros()
    }

    #[cfg(test)]
    fn is_closed(&self) -> bool {
        self.shared.with(|machine, _, _| machine.is_closed())
    }
}

impl<S, B> Service<Request<Body>> for Breaker<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Response = Response<Observed<B, Watch>>;
    type Error = Status;
    type Future = BoxFuture<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let kind = self.shared.policies.of(path).kind;
        let watch = match Shared::admit(&self.shared, kind) {
            Ok(watch) => watch,
            Err(after) => {
                let fault = refusal(path, after);
                Handback::give(request);
                return Box::pin(async { Err(from_fault(fault)) });
            }
        };
        let call = self.inner.call(request);
        Box::pin(async move {
            match call.await {
                // A stream has proved its target well by beginning; how long it goes on says nothing.
                Ok(response) if kind == Kind::Stream && !response.headers().contains_key(Status::GRPC_STATUS) => {
                    watch.ended(Code::Ok);
                    Ok(Observed::unwatched(response))
                }
                Ok(response) => Ok(Observed::watch(response, watch)),
                Err(status) => {
                    if to_fault(&status).reason == Reason::BulkheadFull {
                        drop(watch);
                    } else {
                        watch.ended(from_tonic(status.code()));
                    }
                    Err(status)
                }
            }
        })
    }
}

fn refusal(path: &str, after: Duration) -> Fault {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    Fault::new(Reason::BreakerOpen, format!("{service} is failing and is left alone for a while; try again later"))
        .with("service", service)
        .with_retry_after(after)
}

// === impl Shared ===

impl Shared {
    fn admit(this: &Arc<Self>, kind: Kind) -> Result<Watch, Duration> {
        let ticket = this.with(Machine::admit)?;
        Ok(Watch {
            shared: Arc::clone(this),
            ticket: Some(ticket),
            began: Instant::now(),
            slow_from: this.attempt.limit_of(kind) * this.slow_at_percent / 100,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Machine, Duration, u32) -> T) -> T {
        // The machine never panics half-way, so what is behind a poisoned lock is whole.
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut machine, self.origin.elapsed(), rand::random_range(0..=ROLL_MAX));
        let open_until = machine.open_until().map_or(0, |until| u64::try_from(until.as_micros()).unwrap_or(u64::MAX));
        self.open_until.store(open_until, Ordering::Relaxed);
        done
    }
}

// === impl Watch ===

impl Watch {
    fn report(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.with(|machine, now, roll| machine.report(ticket, outcome, now, roll));
        }
    }
}

impl Observer for Watch {
    fn ended(mut self, code: Code) {
        let slow = self.began.elapsed() >= self.slow_from;
        self.report(match code.class() {
            Class::Success | Class::Terminal => Outcome::Answered { slow },
            Class::Transient | Class::Overload | Class::Unknown => Outcome::Failed,
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.report(Outcome::Ignored);
    }
}

#[cfg(test)]
mod tests;
