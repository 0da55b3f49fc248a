//! Clients among real servers that come and go.

use std::{net::SocketAddr, time::Duration};

use spillway_middleware::status::to_fault;
use spillway_types::Reason;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;
use crate::{Server, ServerConfig, health::LIVENESS, server::ServeError};

/// A server on an address that it can come back to.
struct Replica {
    address: SocketAddr,
    running: Option<(JoinHandle<Result<(), ServeError>>, CancellationToken)>,
}

/// Calls one after another, until told to stop; says how each went.
struct Caller {
    stop: CancellationToken,
    calls: JoinHandle<Vec<Result<(), Status>>>,
}

impl Replica {
    async fn start() -> Self {
        let mut replica = Self { address: "127.0.0.1:0".parse().unwrap(), running: None };
        replica.again().await;
        replica
    }

    async fn again(&mut self) {
        self.with(&ServerConfig { drain_ms: 2_000, ..ServerConfig::default() }).await;
    }

    async fn with(&mut self, config: &ServerConfig) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener: TcpListener = socket.listen(128).unwrap();
        self.address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = Server::new(config, &Policies::new::<&str>([]));
        self.running = Some((tokio::spawn(server.serve(listener, shutdown.clone())), shutdown));
    }

    /// As SIGTERM does.
    async fn drain(&mut self) {
        let (server, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    /// As SIGKILL does: connections end in the middle of whatever was on them.
    async fn kill(&mut self) {
        let (server, _) = self.running.take().unwrap();
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
    }
}

impl Caller {
    fn start(client: &Client) -> Self {
        let stop = CancellationToken::new();
        let (mut client, stopped) = (HealthClient::new(client.clone()), stop.clone());
        let calls = tokio::spawn(async move {
            let mut calls = Vec::new();
            while !stopped.is_cancelled() {
                calls.push(call(&mut client).await);
                tokio::task::yield_now().await;
            }
            calls
        });
        Self { stop, calls }
    }

    async fn stop(self) -> Vec<Result<(), Status>> {
        self.stop.cancel();
        self.calls.await.unwrap()
    }
}

async fn call(client: &mut HealthClient<Client>) -> Result<(), Status> {
    client.check(HealthCheckRequest { service: LIVENESS.to_owned() }).await.map(drop)
}

fn client(replicas: &[&Replica], preset: Preset) -> Client {
    let peers: Vec<_> = replicas.iter().map(|replica| format!("http://{}", replica.address)).collect();
    connect(&peers.join(","), &ClientConfig::default(), &Policies::new::<&str>([]), preset).unwrap()
}

fn failures(calls: &[Result<(), Status>]) -> Vec<Status> {
    calls.iter().filter_map(|call| call.as_ref().err().cloned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_one_of_two_fails_no_call_that_may_be_repeated_and_it_gets_calls_again_when_it_is_back() {
    let (mut one, mut other) = (Replica::start().await, Replica::start().await);
    let client = client(&[&one, &other], Preset::Edge);
    let callers: Vec<_> = (0..8).map(|_| Caller::start(&client)).collect();
    for _ in 0..3 {
        sleep(Duration::from_millis(100)).await;
        one.kill().await;
        sleep(Duration::from_millis(100)).await;
        one.again().await;
    }
    // Were the first one not taken up again, nobody would answer now.
    let mut probe = HealthClient::new(client.clone());
    sleep(Duration::from_millis(1_500)).await;
    other.kill().await;
    for _ in 0..20 {
        call(&mut probe).await.unwrap();
    }
    let mut calls = Vec::new();
    for caller in callers {
        calls.extend(caller.stop().await);
    }
    assert!(calls.len() > 100, "{} calls", calls.len());
    assert_eq!(failures(&calls).len(), 0, "of {}: {:?}", calls.len(), failures(&calls));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_and_leaves_none_in_doubt_for_those_who_do_not_repeat() {
    let mut replicas = [Replica::start().await, Replica::start().await];
    let [edge, step] = [Preset::Edge, Preset::Step].map(|preset| client(&[&replicas[0], &replicas[1]], preset));
    let callers: Vec<_> = (0..4).map(|_| (Caller::start(&edge), Caller::start(&step))).collect();
    for turn in 0..4 {
        let replica = &mut replicas[turn % 2];
        sleep(Duration::from_millis(100)).await;
        replica.drain().await;
        replica.again().await;
        // Until it is taken up again: the longest pause between attempts to connect, and a quarter.
        sleep(Duration::from_millis(1_300)).await;
    }
    judge(callers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_grows_old_fails_no_call_and_leaves_none_in_doubt() {
    let mut replica = Replica::start().await;
    replica.drain().await;
    replica.with(&ServerConfig { connection_age_ms: 200, ..ServerConfig::default() }).await;
    let [edge, step] = [Preset::Edge, Preset::Step].map(|preset| client(&[&replica], preset));
    let callers = (0..2).map(|_| (Caller::start(&edge), Caller::start(&step))).collect();
    sleep(Duration::from_secs(2)).await;
    judge(callers).await;
}

/// Nothing failed for who repeats calls; and what failed for who does not was certainly not done.
async fn judge(callers: Vec<(Caller, Caller)>) {
    let (mut repeated, mut once) = (Vec::new(), Vec::new());
    for (edge, step) in callers {
        repeated.extend(edge.stop().await);
        once.extend(step.stop().await);
    }
    assert!(repeated.len() > 100 && once.len() > 100, "{} and {} calls", repeated.len(), once.len());
    assert_eq!(failures(&repeated).len(), 0, "of {}: {:?}", repeated.len(), failures(&repeated));
    let failed = failures(&once);
    let doubtful: Vec<_> = failed.iter().filter(|status| to_fault(status).reason != Reason::Unreachable).collect();
    assert!(doubtful.is_empty(), "of {}: {doubtful:?}", once.len());
    // A GOAWAY that crosses a request costs it a retry: one for each connection that went, at the most of those at a time.
    assert!(failed.len() * 100 < once.len(), "{} of {} calls: {failed:?}", failed.len(), once.len());
}

#[tokio::test]
async fn nobody_there_is_said_quickly_and_with_a_time_to_come_back() {
    let mut replicas = [Replica::start().await, Replica::start().await];
    let client = client(&[&replicas[0], &replicas[1]], Preset::Step);
    let mut health = HealthClient::new(client);
    call(&mut health).await.unwrap();
    for replica in &mut replicas {
        replica.kill().await;
    }
    let began = Instant::now();
    let gone = async {
        loop {
            // What was on its way when they were killed is in doubt; from then on it is certain.
            let fault = to_fault(&call(&mut health).await.unwrap_err());
            if fault.reason == Reason::Unreachable {
                return fault;
            }
        }
    };
    let fault = timeout(Duration::from_secs(5), gone).await.unwrap();
    assert!(fault.retry_after.is_some(), "{fault:?}");
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    replicas[1].again().await;
    let back = async { while call(&mut health).await.is_err() {} };
    timeout(Duration::from_secs(5), back).await.unwrap();
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let replica = Replica::start().await;
    let uri = format!("http://localhost:{}", replica.address.port());
    let client = connect(&uri, &ClientConfig::default(), &Policies::new::<&str>([]), Preset::Step).unwrap();
    call(&mut HealthClient::new(client)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_address_is_refused() {
    let error = connect("127.0.0.1:1", &ClientConfig::default(), &Policies::new::<&str>([]), Preset::Step).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
