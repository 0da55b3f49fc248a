//! W3C trace context, in and out, and a span for each call by OpenTelemetry's conventions for RPC.
//!
//! An incoming context is passed on even where no subscriber listens: it is attached to the handler's future, and
//! calls made from there send it. Switched-off tracing must not cut other people's traces.

use std::{
    sync::LazyLock,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use opentelemetry::{
    Context as TraceContext,
    context::FutureExt,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use spillway_types::Code;
use tonic::{Status, body::Body};
use tower_service::Service;
use tracing::{Instrument, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    BoxFuture, ResponseBody,
    classify::{Observed, Observer, words},
    status::from_tonic,
};

/// The target of call spans: what a log filter names to switch them on or off.
pub const TARGET: &str = "spillway::rpc";

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// The outgoing side: a client span, and its context in the headers.
#[derive(Clone, Debug)]
pub(crate) struct TraceOut<S> {
    inner: S,
}

/// The incoming side: a server span below the caller's.
#[derive(Clone, Debug)]
pub struct TraceIn<S> {
    inner: S,
}

/// Writes the outcome into a span, which ends with it.
#[derive(Debug)]
pub(crate) struct Record {
    span: Span,
    is_error: fn(Code) -> bool,
}

struct Headers<'a>(&'a HeaderMap);
struct HeadersMut<'a>(&'a mut HeaderMap);

// === impl TraceOut ===

impl<S> TraceOut<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<Body>> for TraceOut<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status>,
    S::Future: Send + 'static,
    B: ResponseBody,
{
    type Response = Response<Observed<B, Record>>;
    type Error = Status;
    type Future = BoxFuture<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = request.uri().path().trim_start_matches('/');
        let span = info_span!(
            target: TARGET, "client",
            otel.name = method, otel.kind = "client", otel.status_code = Empty,
            rpc.system.name = "grpc", rpc.method = method, rpc.response.status_code = Empty, error.type = Empty,
        );
        let mut context = span.context();
        if !context.span().span_context().is_valid() {
            context = TraceContext::current();
        }
        PROPAGATOR.inject_context(&context, &mut HeadersMut(request.headers_mut()));
        let call = span.in_scope(|| self.inner.call(request));
        // Conventions: to a client, whatever is not OK is an error.
        let record = Record { span: span.clone(), is_error: |code| code != Code::Ok };
        let call = async move {
            match call.await {
                Ok(response) => Ok(Observed::watch(response, record)),
                Err(status) => {
                    record.ended(from_tonic(status.code()));
                    Err(status)
                }
            }
        };
        Box::pin(call.instrument(span))
    }
}

// === impl TraceIn ===

impl<S> TraceIn<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<Body>> for TraceIn<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: ResponseBody,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().trim_start_matches('/');
        let parent = PROPAGATOR.extract_with_context(&TraceContext::new(), &Headers(request.headers()));
        let span = info_span!(
            target: TARGET, "server",
            otel.name = method, otel.kind = "server", otel.status_code = Empty,
            rpc.system.name = "grpc", rpc.method = method, rpc.response.status_code = Empty, error.type = Empty,
        );
        // Without a subscriber for it there is no span to have a parent; the context is attached below all the same.
        let _ = span.set_parent(parent.clone());
        let call = span.in_scope(|| self.inner.call(request));
        let record = Record { span: span.clone(), is_error: is_server_error };
        let call = async move {
            let response = call.await?;
            Ok(Observed::watch(response, record).map(Body::new))
        };
        Box::pin(call.instrument(span).with_context(parent))
    }
}

/// Conventions: a server's span is an error only where the server is to blame. Sold out is not.
fn is_server_error(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}

// === impl Record ===

impl Observer for Record {
    fn ended(self, code: Code) {
        self.span.record("rpc.response.status_code", words(code));
        if (self.is_error)(code) {
            self.span.record("error.type", words(code));
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

// === impl Headers ===

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

// === impl HeadersMut ===

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests;
