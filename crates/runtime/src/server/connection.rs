//! One connection, from its first byte to its end.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, transport::server::TcpConnectInfo};
use tower_service::Service;

use super::config::ServerConfig;

/// Headers of a request over HTTP/1.1: a scraper sends half a dozen.
const HTTP1_HEADERS_MAX: usize = 64;

/// Whom a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Callers of its services, who speak gRPC.
    Callers,
    /// Those who watch the process; scrapers among them speak HTTP/1.1.
    Operators,
}

/// Gives the stack what it knows of the connection, and the body type that it speaks.
#[derive(Clone, Debug)]
struct Connected<S> {
    inner: S,
    info: TcpConnectInfo,
}

/// HTTP/2 with every limit set: by itself hyper has no bound on streams here, and no protection from reset floods.
pub(super) fn protocol(audience: Audience, config: &ServerConfig) -> Builder<TokioExecutor> {
    let mut builder = match audience {
        Audience::Callers => Builder::new(TokioExecutor::new()).http2_only(),
        Audience::Operators => Builder::new(TokioExecutor::new()),
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.handshake_ms))
        .max_headers(HTTP1_HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_pending_accept_reset_streams(config.max_pending_accept_resets)
        .max_local_error_reset_streams(config.max_local_error_resets)
        .max_header_list_size(config.max_header_list_bytes)
        .keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms));
    builder
}

/// Serves one connection. Ends, at the latest, the drain limit after its age or after `drain` began.
pub(super) async fn serve<S>(
    stream: TcpStream,
    service: S,
    protocol: Builder<TokioExecutor>,
    config: Arc<ServerConfig>,
    drain: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    S::Future: Send + 'static,
{
    let info = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: stream.peer_addr().ok() };
    // Replies are small and must not wait for company.
    if stream.set_nodelay(true).is_err() || !speaks(&stream, &config, &drain).await {
        return;
    }
    let service = TowerToHyperService::new(Connected { inner: service, info });
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = tokio::time::sleep(config.age()) => None,
        () = drain.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // Dropped at the limit: that resets the streams that are left, and so ends their handlers.
            timeout(config.drain(), connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(cause = %error, "connection broke");
    }
}

/// Waits for the first byte. A connection that is never used holds neither its place nor a drain.
async fn speaks(stream: &TcpStream, config: &ServerConfig, drain: &CancellationToken) -> bool {
    let mut byte = [0];
    // Peeked, since `readable` may say so when nothing is there.
    let first = timeout(Duration::from_millis(config.handshake_ms), stream.peek(&mut byte));
    tokio::select! {
        first = first => matches!(first, Ok(Ok(1))),
        () = drain.cancelled() => false,
    }
}

// === impl Connected ===

impl<S, B> Service<Request<B>> for Connected<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Future<Output = Result<Response<Body>, S::Error>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Where tonic looks for the caller's address.
        request.extensions_mut().insert(self.info.clone());
        self.inner.call(request.map(Body::new))
    }
}
