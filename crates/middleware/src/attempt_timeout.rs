//! A limit for each attempt, and the `grpc-timeout` that tells the other side of it.
//!
//! Innermost, so that an attempt that hangs leaves time for another, and so that the breaker outside counts it: a call
//! that the outer deadline drops looks like a caller that went away. For unary methods the limit holds to the end of
//! the answer, for streams to its beginning.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    config::AttemptConfig,
    deadline::{Deadline, wire},
    policy::{Kind, Policies},
    timed::{Ending, Timed, late},
};

/// An attempt ends this much before the deadline of its call, so that its end is seen as a failure of the target
/// before the deadline drops it: one tick of the timer.
const HEAD_START: Duration = Duration::from_millis(1);

/// Ends attempts that take too long.
#[derive(Clone, Debug)]
pub(crate) struct AttemptTimeout<S> {
    inner: S,
    config: Arc<AttemptConfig>,
    policies: Policies,
}

// === impl AttemptTimeout ===

impl<S> AttemptTimeout<S> {
    pub(crate) fn new(inner: S, config: &AttemptConfig, policies: &Policies) -> Self {
        Self { inner, config: Arc::new(config.clone()), policies: policies.clone() }
    }
}

impl<S, B> Service<Request<Body>> for AttemptTimeout<S>
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
        let kind = self.policies.of(request.uri().path()).kind;
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        let own = now + self.config.limit_of(kind);
        let end = deadline.map_or(own, |deadline| own.min(deadline - HEAD_START));
        let (told, body_end) = match kind {
            Kind::Read | Kind::Write => (Some(end), Some(end)),
            // The other side may stream until the call's own deadline, if it has one; the outer rung ends the body.
            Kind::Stream => (deadline, None),
        };
        match told {
            Some(told) => wire::write(request.headers_mut(), told.saturating_duration_since(now)),
            None => drop(request.headers_mut().remove(wire::GRPC_TIMEOUT)),
        }
        let call = self.inner.call(request);
        Box::pin(async move {
            let response = timeout_at(end, call).await.unwrap_or_else(|_| Err(late()))?;
            Ok(response.map(|body| Timed::new(body, body_end, Ending::Error)))
        })
    }
}

#[cfg(test)]
mod tests;
