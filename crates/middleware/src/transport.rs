//! The innermost rung: what a channel says becomes a status of ours.
//!
//! Only what certainly had no effect is UNAVAILABLE: no connection, one that was closed before the request went out, a
//! stream that the other side refused, or that came after its GOAWAY. All the rest are unknown outcomes, among them a
//! connection that stopped answering pings, which tonic takes for UNAVAILABLE. tonic's own timeout reads the
//! `grpc-timeout` that we send and answers CANCELLED; here that becomes the DEADLINE_EXCEEDED that it is.

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
    balance::NotConnected,
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
    if any(error.as_ref(), |cause| cause.is::<TimeoutExpired>()) {
        return late();
    }
    let unsent = any(error.as_ref(), was_never_sent);
    let in_doubt = any(error.as_ref(), |cause| cause.downcast_ref().is_some_and(hyper::Error::is_timeout));
    let status = Status::from_error(error);
    // The cause names addresses and libraries: it is for the log.
    tracing::debug!(code = ?status.code(), cause = ?status, unsent, "call failed in transport");
    from_fault(match from_tonic(status.code()) {
        _ if in_doubt => lost(),
        _ if unsent => Fault::new(Reason::Unreachable, "the service cannot be reached; try again shortly"),
        Code::Unavailable => Fault::new(Reason::Unreachable, "the service cannot be reached; try again shortly"),
        Code::ResourceExhausted => Fault::new(Reason::Shed, "the service is too busy; try again later"),
        Code::DeadlineExceeded => return late(),
        _ => lost(),
    })
}

fn lost() -> Fault {
    Fault::new(Reason::OutcomeUnknown, "the connection broke before the answer came; try again")
}

fn was_never_sent(cause: &(dyn Error + 'static)) -> bool {
    // hyper says "cancelled" of what was still in its queue when the connection ended.
    let queued = cause.downcast_ref().is_some_and(hyper::Error::is_canceled);
    // A GOAWAY ends only the streams that it does not name as processed.
    let after_goaway = cause.downcast_ref().is_some_and(|error: &h2::Error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    });
    queued || after_goaway || cause.is::<NotConnected>()
}

fn any(error: &(dyn Error + 'static), wanted: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if wanted(error) {
            return true;
        }
        cause = error.source();
    }
    false
}
