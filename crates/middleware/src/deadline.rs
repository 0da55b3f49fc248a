//! Deadlines, in and out.
//!
//! A server takes the caller's time from `grpc-timeout`, or the method's default, and makes it [`current`] for its
//! handler; a client call of that handler gets what is left of it, less a reserve for the way home. So every hop has
//! less time than the one before, and nobody works for a caller that is gone. On the wire a deadline is relative, so
//! clocks need not agree.
//!
//! tonic's own timeout answers CANCELLED, ignores a malformed header, ends at the response headers and propagates
//! nothing; hence this one, which answers DEADLINE_EXCEEDED and runs to the end of both bodies.

pub(crate) mod wire;

use std::{
    collections::HashMap,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use spillway_types::{Class, Fault, Reason};
use tokio::{
    task_local,
    time::{Instant, timeout_at},
};
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    classify::early_code,
    config::DeadlineConfig,
    median::Median,
    policy::Policies,
    status::from_fault,
    timed::{Ending, Timed, late},
};

task_local! {
    static CURRENT: Option<Instant>;
}

/// The deadline of a request, in its extensions: from the deadline rung to the rungs inside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(pub(crate) Instant);

/// The outgoing side: gives a call its deadline and ends it there.
#[derive(Clone, Debug)]
pub struct DeadlineOut<S> {
    inner: S,
    config: Arc<DeadlineConfig>,
    policies: Policies,
}

/// The incoming side: refuses what cannot be done in time, ends what was not.
#[derive(Clone, Debug)]
pub struct DeadlineIn<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: DeadlineConfig,
    policies: Policies,
    /// How long each known method usually takes.
    medians: HashMap<String, Median>,
}

/// The deadline of the call that this task works for, if there is one. Spawned tasks do not inherit it: what must
/// not be cancelled runs in a task of its own.
pub fn current() -> Option<Instant> {
    CURRENT.try_with(|deadline| *deadline).unwrap_or(None)
}

/// Runs `work` under a deadline of its own in place of the caller's: `None` for work that outlives its caller, such as
/// a compensation. It limits the client calls of `work`, and does not end `work` itself.
pub fn scope<F: Future>(deadline: Option<Instant>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(deadline, work)
}

// === impl DeadlineOut ===

impl<S> DeadlineOut<S> {
    pub(crate) fn new(inner: S, config: &DeadlineConfig, policies: &Policies) -> Self {
        Self { inner, config: Arc::new(config.clone()), policies: policies.clone() }
    }

    /// When the call to the method at `path` must end.
    fn deadline(&self, request: &Request<Body>, now: Instant) -> Result<Option<Instant>, Fault> {
        let kind = self.policies.of(request.uri().path()).kind;
        let asked = wire::read(request.headers())?.map(|asked| self.config.capped(kind, asked));
        let own = asked.or_else(|| self.config.default_of(kind)).map(|limit| now + limit);
        let parent = current().map(|parent| {
            let remaining = parent.saturating_duration_since(now);
            now + remaining.saturating_sub(self.config.reserve(remaining))
        });
        Ok(own.into_iter().chain(parent).min())
    }
}

impl<S, B> Service<Request<Body>> for DeadlineOut<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Response = Response<Timed<B>>;
    type Error = Status;
    type Future = BoxFuture<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let now = Instant::now();
        let deadline = match self.deadline(&request, now) {
            Ok(Some(deadline)) if deadline <= now => return Box::pin(async { Err(late()) }),
            Ok(deadline) => deadline,
            Err(fault) => return Box::pin(async { Err(from_fault(fault)) }),
        };
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(Deadline(deadline));
        }
        let call = self.inner.call(request);
        Box::pin(async move {
            let response = match deadline {
                Some(deadline) => timeout_at(deadline, call).await.unwrap_or_else(|_| Err(late()))?,
                None => call.await?,
            };
            Ok(response.map(|body| Timed::new(body, deadline, Ending::Error)))
        })
    }
}

// === impl DeadlineIn ===

impl<S> DeadlineIn<S> {
    pub(crate) fn new(inner: S, config: &DeadlineConfig, policies: &Policies) -> Self {
        let medians = policies.paths().map(|path| (path.to_owned(), Median::default())).collect();
        Self { inner, shared: Arc::new(Shared { config: config.clone(), policies: policies.clone(), medians }) }
    }
}

impl<S, B> Service<Request<Body>> for DeadlineIn<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let now = Instant::now();
        let limit = match self.shared.limit(&request) {
            Ok(limit) => limit,
            Err(fault) => return Box::pin(async { Ok(from_fault(fault).into_http()) }),
        };
        let path = request.uri().path().to_owned();
        let deadline = limit.map(|limit| now + limit);
        let request = request.map(|body| Body::new(Timed::new(body, deadline, Ending::Error)));
        let call = self.inner.call(request);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let call = scope(deadline, call);
            let answer = match deadline {
                Some(deadline) => timeout_at(deadline, call).await,
                None => Ok(call.await),
            };
            let Ok(answer) = answer else { return Ok(late().into_http()) };
            let response = answer?;
            // Refusals are quicker than work, and would teach us that there is time where there is none.
            if early_code(&response).is_none_or(|code| code.class() == Class::Success)
                && let Some(median) = shared.medians.get(&path)
            {
                median.record(now.elapsed());
            }
            Ok(response.map(|body| Body::new(Timed::new(body, deadline, Ending::Trailers))))
        })
    }
}

// === impl Shared ===

impl Shared {
    /// How long the call may take, or why it is not begun.
    fn limit(&self, request: &Request<Body>) -> Result<Option<Duration>, Fault> {
        let path = request.uri().path();
        let kind = self.policies.of(path).kind;
        let Some(asked) = wire::read(request.headers())? else { return Ok(self.config.default_of(kind)) };
        let usual = self.medians.get(path);
        if asked.is_zero() || usual.is_some_and(|usual| asked < usual.get()) {
            if let Some(usual) = usual {
                usual.doubt();
            }
            return Err(Fault::new(
                Reason::DeadlineExceeded,
                "the deadline leaves too little time, so nothing was begun; try again with a longer one",
            ));
        }
        Ok(Some(self.config.capped(kind, asked)))
    }
}

#[cfg(test)]
mod tests;
