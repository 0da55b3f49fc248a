//! The yardstick: a bare tonic call, without anything of ours around it, on the same machine in the same run.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::DemoError;

/// What the yardstick came to.
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    /// Calls in a second.
    pub(crate) rate: f64,
    /// How long a call took, in microseconds.
    pub(crate) latency: Histogram<u64>,
}

/// Makes `calls` calls to a bare tonic server, `concurrency` at a time over `connections` connections.
pub(crate) async fn measure(calls: u32, concurrency: u32, connections: u32) -> Result<Echo, DemoError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (_, health) = tonic_health::server::health_reporter();
    #[expect(clippy::disallowed_methods, reason = "the yardstick is tonic as it comes")]
    let server = tonic::transport::Server::builder()
        .add_service(health)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { stopped.cancelled().await });
    let server = tokio::spawn(server);
    let mut channels = Vec::new();
    for _ in 0..connections.max(1) {
        channels.push(Endpoint::from_shared(uri.clone())?.tcp_nodelay(true).connect().await?);
    }
    let begun = Instant::now();
    let share = calls.div_ceil(concurrency.max(1));
    let callers = (0..concurrency.max(1)).zip(channels.iter().cycle().cloned());
    let callers: Vec<_> = callers.map(|(_, channel)| tokio::spawn(call(channel, share))).collect();
    let mut latency = super::histogram();
    for caller in callers {
        // A histogram of the same bounds can always be added.
        let _same_bounds = latency.add(caller.await??);
    }
    let rate = super::per_second(latency.len(), begun.elapsed());
    stop.cancel();
    drop(channels);
    // The yardstick's end is of no interest, only that it does.
    let _ended = tokio::time::timeout(Duration::from_secs(1), server).await;
    Ok(Echo { rate, latency })
}

async fn call(channel: Channel, times: u32) -> Result<Histogram<u64>, tonic::Status> {
    let mut client = HealthClient::new(channel);
    let mut latency = super::histogram();
    for _ in 0..times {
        let begun = Instant::now();
        client.check(HealthCheckRequest::default()).await?;
        super::note(&mut latency, begun.elapsed());
    }
    Ok(latency)
}
