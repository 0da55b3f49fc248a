//! The innermost rung: what a channel says becomes a status of ours.
//!
//! tonic's channel has a timeout of its own, which reads the `grpc-timeout` that we send and answers CANCELLED; here
//! that becomes the DEADLINE_EXCEEDED that it is. Of the other failures only those that certainly had no effect (no
//! connection, a stream that the other side refused) are UNAVAILABLE; all the rest are unknown outcomes.

use std::{
    error::Error,
    task::{Context, Poll},
};

use http::{Request, Response};
use spillway_types::{Code, Fault, Reason};
use tonic::{Status, TimeoutExpired, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    status::{from_fault, from_tonic},
    timed::late,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// A transport whose errors are ours.
#[derive(Clone, Debug)]
pub(crate) struct Transport<S> {
    inner: S,
}

impl<S> Transport<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<Body>> for Transport<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Response = Response<B>;
    type Error = Status;
    type Future = BoxFuture<Result<Response<B>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx).map_err(|error| translate(error.into()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.inner.call(request);
        Box::pin(async move { call.await.map_err(|error| translate(error.into())) })
    }
}

fn translate(error: BoxError) -> Status {
    if is_timeout(error.as_ref()) {
        return late();
    }
    let status = Status::from_error(error);
    // The cause names addresses and libraries: it is for the log.
    tracing::debug!(code = ?status.code(), cause = ?status, "call failed in transport");
    from_fault(match from_tonic(status.code()) {
        Code::Unavailable => Fault::new(Reason::Unreachable, "the service cannot be reached; try again shortly"),
        Code::ResourceExhausted => Fault::new(Reason::Shed, "the service is too busy; try again later"),
        Code::DeadlineExceeded => return late(),
        _ => Fault::new(Reason::OutcomeUnknown, "the connection broke before the answer came; try again"),
    })
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}
