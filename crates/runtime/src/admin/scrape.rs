//! `GET /metrics`, in front of the gRPC services of a server.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use tonic::body::Body;
use tower_service::Service;

use crate::metrics;

/// Where scrapers ask.
const PATH: &str = "/metrics";

/// Answers scrapers, and leaves the rest to the services behind it.
#[derive(Clone, Debug)]
pub(crate) struct Scrape<S> {
    inner: S,
}

// === impl Scrape ===

impl<S> Scrape<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Request<Body>> for Scrape<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.inner.call(request).boxed();
        }
        std::future::ready(Ok(answer(request.method()))).boxed()
    }
}

fn answer(method: &Method) -> Response<Body> {
    let (status, body) = match *method {
        Method::GET => match metrics::text() {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => {
                tracing::error!(%error, "the numbers cannot be written");
                (StatusCode::INTERNAL_SERVER_ERROR, String::new())
            }
        },
        _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
    };
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}
