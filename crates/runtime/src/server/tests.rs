use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use futures_util::{future::BoxFuture, stream::BoxStream};
use spillway_middleware::{Client, ClientConfig, Preset};
use spillway_types::Reason;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_stream::{StreamExt, iter};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus as Wire, health_client::HealthClient,
    health_server::Health as HealthRpc,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::*;
use crate::{
    connect,
    health::{LIVENESS, READINESS},
};

/// A service whose calls hang: the health protocol once more, under a name of its own.
#[derive(Clone)]
struct Hanging(HealthServer<Hang>);
struct Hang;

/// Calls the service of that name through a health client.
#[derive(Clone)]
struct Renamed<S>(S);

#[tonic::async_trait]
impl HealthRpc for Hang {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        std::future::pending().await
    }

    async fn watch(&self, _: tonic::Request<HealthCheckRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Ok(tonic::Response::new(Box::pin(futures_util::stream::pending())))
    }
}

impl NamedService for Hanging {
    const NAME: &'static str = "test.Hanging";
}

impl Service<Request<Body>> for Hanging {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        *request.uri_mut() = request.uri().path().replace("test.Hanging", "grpc.health.v1.Health").parse().unwrap();
        self.0.call(request)
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Renamed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        *request.uri_mut() = request.uri().path().replace("grpc.health.v1.Health", "test.Hanging").parse().unwrap();
        self.0.call(request)
    }
}

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    fn hanging_client(&self) -> HealthClient<Renamed<Channel>> {
        HealthClient::new(Renamed(self.channel()))
    }

    fn client(&self) -> Client {
        let uri = format!("http://{}", self.address);
        connect(&uri, &ClientConfig::default(), &Policies::new::<&str>([]), Preset::Step).unwrap()
    }

    async fn health(&self, service: &str) -> Result<Wire, Code> {
        let mut client = HealthClient::new(self.channel());
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
    }

    async fn until_health(&self, service: &str, wanted: Wire) {
        let reached = async {
            while self.health(service).await != Ok(wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), reached).await.unwrap();
    }

    /// Stops the server and says how long that took.
    async fn stop(self) -> Duration {
        let began = Instant::now();
        self.shutdown.cancel();
        timeout(Duration::from_secs(10), self.server).await.unwrap().unwrap().unwrap();
        began.elapsed()
    }
}

fn quick() -> ServerConfig {
    ServerConfig { drain_ms: 300, probe_interval_ms: 20, ..ServerConfig::default() }
}

async fn start(server: Server) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(server.serve(listener, shutdown.clone()));
    Running { address, shutdown, server }
}

fn hanging(config: &ServerConfig) -> Server {
    Server::new(config, &Policies::new::<&str>([])).service(Hanging(HealthServer::new(Hang)))
}

#[tokio::test]
async fn connections_that_are_never_used_do_not_hold_up_the_exit() {
    let config = ServerConfig { drain_ms: 60_000, ..quick() };
    let server = start(hanging(&config)).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    server.until_health("", Wire::Serving).await;
    assert!(server.stop().await < Duration::from_secs(2));
}

#[tokio::test]
async fn a_connection_that_says_nothing_loses_its_place() {
    let config = ServerConfig { handshake_ms: 50, max_connections: 1, ..quick() };
    let server = start(hanging(&config)).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0, "closed by the server");
    server.until_health("", Wire::Serving).await;
}

#[tokio::test]
async fn a_call_that_hangs_is_cut_off_at_the_drain_limit() {
    let server = start(hanging(&quick())).await;
    server.until_health("test.Hanging", Wire::Serving).await;
    let mut client = server.hanging_client();
    let call = tokio::spawn(async move { client.check(HealthCheckRequest::default()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let took = server.stop().await;
    assert!((250..1_500).contains(&took.as_millis()), "{took:?}");
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_stream_ends_with_draining_as_soon_as_the_drain_begins() {
    let config = ServerConfig { drain_ms: 60_000, ..quick() };
    let policies = Policies::new([("/test.Hanging/Watch", spillway_middleware::Policy::stream())]);
    let server = start(Server::new(&config, &policies).service(Hanging(HealthServer::new(Hang)))).await;
    server.until_health("test.Hanging", Wire::Serving).await;
    let mut stream = server.hanging_client().watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let reader = tokio::spawn(async move { stream.message().await });
    assert!(server.stop().await < Duration::from_secs(2));
    let status = reader.await.unwrap().unwrap_err();
    assert_eq!(spillway_middleware::status::to_fault(&status).reason, Reason::Draining);
}

#[tokio::test]
async fn a_deadline_that_passes_reads_deadline_exceeded_and_never_cancelled() {
    let server = start(hanging(&quick())).await;
    server.until_health("test.Hanging", Wire::Serving).await;
    // Through the client stack as well: a bare channel of tonic's ends the call by itself, as CANCELLED.
    let mut client = HealthClient::new(Renamed(server.client()));
    for millis in [1, 20, 37, 50] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request.set_timeout(Duration::from_millis(millis));
        let status = client.check(request).await.unwrap_err();
        assert_eq!(spillway_middleware::status::to_fault(&status).reason, Reason::DeadlineExceeded, "{status:?}");
    }
}

#[tokio::test]
async fn callers_are_told_of_the_stream_limit() {
    let config = ServerConfig { max_concurrent_streams: 7, max_header_list_bytes: 9_999, ..quick() };
    let server = start(hanging(&config)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The preface, and an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let settings = read_settings(&mut stream).await;
    assert_eq!((settings.get(&3), settings.get(&6)), (Some(&7), Some(&9_999)), "{settings:?}");
}

/// The first frame of a server: its settings, by identifier.
async fn read_settings(stream: &mut TcpStream) -> BTreeMap<u16, u32> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
    stream.read_exact(&mut payload).await.unwrap();
    let settings = payload.chunks_exact(6).map(|entry| {
        (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    });
    settings.collect()
}

#[tokio::test]
async fn an_old_connection_is_asked_to_go_and_calls_go_on() {
    let config = ServerConfig { connection_age_ms: 100, ..quick() };
    let server = start(hanging(&config)).await;
    let mut client = HealthClient::new(server.channel());
    let request = || HealthCheckRequest { service: LIVENESS.to_owned() };
    client.check(request()).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        client.check(request()).await.unwrap();
    }
}

#[tokio::test]
async fn health_follows_the_probes() {
    let well = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&well);
    let server = hanging(&quick()).probe("store", move || {
        let well = asked.load(Ordering::SeqCst);
        async move { if well { Ok(()) } else { Err("no answer".to_owned()) } }
    });
    let server = start(server).await;
    for name in ["", READINESS, "test.Hanging"] {
        server.until_health(name, Wire::NotServing).await;
    }
    assert_eq!(server.health(LIVENESS).await, Ok(Wire::Serving), "liveness asks no dependency");
    assert_eq!(server.health("test.Nothing").await, Err(Code::NotFound));
    well.store(true, Ordering::SeqCst);
    for name in ["", READINESS, "test.Hanging"] {
        server.until_health(name, Wire::Serving).await;
    }
    well.store(false, Ordering::SeqCst);
    server.until_health("", Wire::NotServing).await;
}

#[tokio::test]
async fn a_probe_that_hangs_is_one_that_fails() {
    let server = start(hanging(&quick()).probe("store", std::future::pending)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.health("").await, Ok(Wire::NotServing));
}

#[tokio::test]
async fn reflection_lists_what_is_served_in_both_versions() {
    let server = start(hanging(&quick()).descriptors(spillway_contracts::FILE_DESCRIPTOR_SET)).await;
    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let answer = client.server_reflection_info(iter([ask])).await.unwrap().into_inner().next().await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer.message_response
    else {
        panic!("{answer:?}");
    };
    let mut names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "test.Hanging"]);

    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "google.rpc.ErrorInfo".to_owned(),
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel());
    let answer = client.server_reflection_info(iter([ask])).await.unwrap().into_inner().next().await.unwrap().unwrap();
    use v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse;
    assert!(matches!(answer.message_response, Some(FileDescriptorResponse(_))), "details of errors are described");
}

#[tokio::test]
async fn the_client_stack_reaches_a_server_and_names_one_that_is_not_there() {
    let server = start(hanging(&quick())).await;
    let mut client = HealthClient::new(server.client());
    let request = || HealthCheckRequest { service: LIVENESS.to_owned() };
    assert_eq!(client.check(request()).await.unwrap().into_inner().status(), Wire::Serving);
    server.stop().await;
    let status = client.check(request()).await.unwrap_err();
    assert_eq!(spillway_middleware::status::to_fault(&status).reason, Reason::Unreachable, "{status:?}");
}
