//! Trying again, as gRFC A6 has it, with a budget in place of its throttle.
//!
//! UNAVAILABLE certainly had no effect and is tried again for every method; an unknown outcome only where the proto
//! calls the method idempotent; RESOURCE_EXHAUSTED only when the server says when. A server's pushback is obeyed, to
//! the millisecond or for good. No retry begins that cannot end in the time left, and headers that begin an answer
//! commit the call. Waits have full jitter, also at the cap, where tower's back-off has none. A write of which one attempt
//! ended in doubt stays in doubt until an attempt is answered: that the last one found nobody says nothing of the first.
//!
//! Streams refused before they began (REFUSED_STREAM) arrive as UNAVAILABLE and need no rule of their own; they count
//! as attempts, which is stricter than A6.

mod replay;

use std::{
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, request::Parts};
use spillway_types::Class;
use tokio::time::{Instant, sleep};
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    budget::{Budget, Token},
    classify::early_failure,
    config::RetryConfig,
    deadline::Deadline,
    median::Median,
    policy::{Kind, Policies, Policy},
    status::{Pushback, from_tonic, pushback_of},
};

use replay::Replay;

/// Tells the server how many attempts came before.
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

/// Sends a failed call again, where that is safe and likely to help.
#[derive(Clone, Debug)]
pub(crate) struct Retry<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RetryConfig,
    policies: Policies,
    budget: Arc<Budget>,
    /// How long an attempt usually takes: a retry with less time than that left is not begun.
    usual: Median,
}

/// How far one call has come.
#[derive(Debug)]
struct Progress {
    /// Attempts made.
    attempts: u32,
    /// Random waits since the beginning, or since a pushback: the back-off starts anew after one.
    backoffs: u32,
    policy: Policy,
    deadline: Option<Instant>,
    /// The first failure that may have had an effect.
    doubt: Option<Status>,
}

// === impl Retry ===

impl<S> Retry<S> {
    pub(crate) fn new(inner: S, config: &RetryConfig, policies: &Policies) -> Self {
        let shared = Shared {
            config: config.clone(),
            policies: policies.clone(),
            budget: Arc::new(Budget::new(config, Instant::now())),
            usual: Median::default(),
        };
        Self { inner, shared: Arc::new(shared) }
    }
}

impl<S, B> Service<Request<Body>> for Retry<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status> + Clone + Send + 'static,
    S::Future: Send,
    B: ResponseBody,
{
    type Response = Response<B>;
    type Error = Status;
    type Future = BoxFuture<Result<Response<B>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone has not been polled ready: the call takes the instance that has, and leaves the clone behind.
        let spare = self.inner.clone();
        let ready = mem::replace(&mut self.inner, spare);
        Box::pin(run(ready, request, Arc::clone(&self.shared)))
    }
}

async fn run<S, B>(mut ready: S, request: Request<Body>, shared: Arc<Shared>) -> Result<Response<B>, Status>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status>,
{
    let (parts, body) = request.into_parts();
    let bytes = match Replay::of(body, shared.config.buffer_bytes) {
        Replay::Kept(bytes) => bytes,
        Replay::Once(body) => return ready.call(Request::from_parts(parts, body)).await,
    };
    shared.budget.deposit(Instant::now());
    let mut progress = Progress {
        attempts: 0,
        backoffs: 0,
        policy: shared.policies.of(parts.uri.path()),
        deadline: parts.extensions.get::<Deadline>().map(|deadline| deadline.0),
        doubt: None,
    };
    loop {
        let began = Instant::now();
        let answer = ready.call(Request::from_parts(progress.head(&parts), replay::body(&bytes))).await;
        progress.attempts += 1;
        let failure = match &answer {
            Ok(response) => early_failure(response),
            Err(status) => Some(status.clone()),
        };
        let Some(failure) = failure else {
            shared.usual.record(began.elapsed());
            return answer;
        };
        let Some((wait, token)) = shared.schedule(&mut progress, &failure) else {
            return progress.in_doubt(&failure).map_or(answer, Err);
        };
        progress.note(failure);
        sleep(wait).await;
        if let Err(failure) = poll_fn(|cx| ready.poll_ready(cx)).await {
            return Err(progress.in_doubt(&failure).unwrap_or(failure));
        }
        token.spend();
    }
}

// === impl Shared ===

impl Shared {
    /// When to send the call again, and the token for it; nothing when it has to stay as it is.
    fn schedule(&self, progress: &mut Progress, failure: &Status) -> Option<(Duration, Token)> {
        if progress.attempts >= self.config.attempts {
            return None;
        }
        let wait = match (from_tonic(failure.code()).class(), pushback_of(failure)) {
            (Class::Success | Class::Terminal, _) | (_, Pushback::Never) | (Class::Overload, Pushback::Absent) => {
                return None;
            }
            (Class::Unknown, _) if !progress.policy.idempotent => return None,
            (Class::Transient | Class::Overload | Class::Unknown, Pushback::After(wait)) => {
                progress.backoffs = 0;
                wait
            }
            (Class::Transient | Class::Unknown, Pushback::Absent) => {
                let most = self.most(progress.backoffs);
                progress.backoffs += 1;
                Duration::from_micros(rand::random_range(0..=most))
            }
        };
        let now = Instant::now();
        let in_time = progress.deadline.is_none_or(|deadline| now + wait + self.usual.get() < deadline);
        if !in_time {
            return None;
        }
        self.budget.withdraw(now).map(|token| (wait, token))
    }

    /// The upper end of the random wait after `backoffs` earlier ones, in microseconds.
    fn most(&self, backoffs: u32) -> u64 {
        let doubled = self.config.base_ms.saturating_mul(1u64.checked_shl(backoffs).unwrap_or(u64::MAX));
        doubled.min(self.config.cap_ms) * 1_000
    }
}

// === impl Progress ===

impl Progress {
    /// The head of the next attempt.
    fn head(&self, parts: &Parts) -> Parts {
        let mut parts = parts.clone();
        if self.attempts > 0 {
            parts.headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(self.attempts));
        }
        parts
    }

    /// Remembers a failure that is tried again, if it may have had an effect.
    fn note(&mut self, failure: Status) {
        let unknown = from_tonic(failure.code()).class() == Class::Unknown;
        if unknown && self.policy.kind == Kind::Write && self.doubt.is_none() {
            self.doubt = Some(failure);
        }
    }

    /// What to say in place of a last failure that had no effect, when an earlier one may have had.
    fn in_doubt(&mut self, last: &Status) -> Option<Status> {
        match from_tonic(last.code()).class() {
            Class::Transient | Class::Overload => self.doubt.take(),
            Class::Success | Class::Terminal | Class::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
