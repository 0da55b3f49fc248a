//! Streams end when a drain begins. A stream ends by nature only when its caller has seen enough, so each one would
//! hold up the exit until the drain's limit; its caller resumes it elsewhere.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt};
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use spillway_middleware::{Kind, Policies, status::from_fault};
use spillway_types::{Fault, Reason};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};
use tower_service::Service;

/// Ends the streams of a server when it drains.
#[derive(Clone, Debug)]
pub(crate) struct EndStreams<S> {
    inner: S,
    policies: Policies,
    drain: CancellationToken,
}

pin_project! {
    struct Until {
        #[pin]
        inner: Body,
        #[pin]
        drain: WaitForCancellationFutureOwned,
        over: bool,
    }
}

// === impl EndStreams ===

impl<S> EndStreams<S> {
    pub(crate) fn new(inner: S, policies: &Policies, drain: CancellationToken) -> Self {
        Self { inner, policies: policies.clone(), drain }
    }
}

impl<S> Service<Request<Body>> for EndStreams<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_stream = self.policies.of(request.uri().path()).kind == Kind::Stream;
        let call = self.inner.call(request);
        if !is_stream {
            return call.boxed();
        }
        let drain = self.drain.clone();
        call.map_ok(move |response| {
            response.map(|inner| Body::new(Until { inner, drain: drain.cancelled_owned(), over: false }))
        })
        .boxed()
    }
}

// === impl Until ===

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        // What is there already goes out first.
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if this.drain.poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.over = true;
        let status = from_fault(Fault::new(Reason::Draining, "this server is going; resume the stream elsewhere"));
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
