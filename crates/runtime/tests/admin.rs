//! The listener for operators and scrapers, as they meet it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use spillway_contracts::admin::v1::{
    DeadLetter, ListDeadLettersRequest, ReplayDeadLettersRequest, event_service_client::EventServiceClient,
};
use spillway_middleware::{Policies, status::to_fault};
use spillway_runtime::{Admin, AdminConfig, Server, ServerConfig, TelemetryConfig, telemetry};
use spillway_storage::bus::{
    Bus, Consumer, Event, InProcessBus, Letterbox, NotTaken,
    letterbox::{Letter, LetterState, MemoryLetterbox},
};
use spillway_types::{EventId, Reason, RequestId, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// How long anything here may take; far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes nothing; what it would have to take is in its letterbox.
struct Idle(&'static str);

#[async_trait::async_trait]
impl Consumer for Idle {
    fn name(&self) -> &'static str {
        self.0
    }

    fn topics(&self) -> &'static [&'static str] {
        &["test"]
    }

    async fn take(&self, _: Vec<Event>) -> Result<(), NotTaken> {
        Ok(())
    }
}

async fn start(bus: Arc<dyn Bus>) -> (Admin, SocketAddr) {
    let config = AdminConfig { listen: "127.0.0.1:0".parse().unwrap() };
    let server = ServerConfig { probe_interval_ms: 10, ..ServerConfig::default() };
    let admin = Admin::start(&config, &server, &bus).await;
    let address = admin.address().unwrap();
    (admin, address)
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// What a scraper gets, over HTTP/1.1 as scrapers speak it.
async fn http(address: SocketAddr, request_line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request_line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_scraper_reads_every_number_over_http_1() {
    let _telemetry = telemetry::init(&TelemetryConfig::default(), "test").unwrap();
    let (_admin, address) = start(Arc::new(InProcessBus::default())).await;
    let counter = opentelemetry::global::meter("test").u64_counter("test.sales").build();
    counter.add(7, &[]);
    let answer = http(address, "GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    for line in ["content-type: text/plain; version=0.0.4", "\ntest_sales_total 7\n", "service_name=\"test\""] {
        assert!(answer.contains(line), "{line:?} is missing in:\n{answer}");
    }
    assert!(http(address, "DELETE /metrics").await.starts_with("HTTP/1.1 405"), "only to be read");
}

#[tokio::test]
async fn the_process_is_well_while_all_of_its_servers_are() {
    let (_admin, address) = start(Arc::new(InProcessBus::default())).await;
    let mut client = HealthClient::new(channel(address));
    let mut until = async |wanted: ServingStatus| {
        let reached = async {
            loop {
                let answer = client.check(HealthCheckRequest::default()).await.unwrap().into_inner();
                if answer.status() == wanted {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
    };
    until(ServingStatus::NotServing).await;
    let shutdown = CancellationToken::new();
    let serve = |well: bool| {
        // Any service does; this one is at hand.
        let service = tonic_reflection::server::Builder::configure().build_v1().unwrap();
        let config =
            ServerConfig { probe_interval_ms: 10, reflection: false, drain_ms: 100, ..ServerConfig::default() };
        let probe = move || std::future::ready(if well { Ok(()) } else { Err("not well".to_owned()) });
        let server = Server::new(&config, &Policies::new::<&str>([])).service(service).probe("test", probe);
        let shutdown = shutdown.child_token();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            server.serve(listener, shutdown).await.unwrap();
        });
        (stop, serving)
    };
    let (_, well) = serve(true);
    until(ServingStatus::Serving).await;
    let (stop, ill) = serve(false);
    until(ServingStatus::NotServing).await;
    stop.cancel();
    ill.await.unwrap();
    until(ServingStatus::Serving).await;
    shutdown.cancel();
    well.await.unwrap();
    until(ServingStatus::NotServing).await;
}

/// An event that `consumer` cannot take.
fn letter(number: i64) -> Letter {
    let event = Event {
        event_id: EventId::random(),
        topic: "test".to_owned(),
        key: format!("key {number}"),
        sequence: number,
        occurred_at: Timestamp::from_micros(number),
        payload: "{}".to_owned(),
    };
    Letter { event, state: LetterState::Dead, attempts: 5, last_error: "no such colour".to_owned() }
}

async fn list(client: &mut EventServiceClient<Channel>, consumer: &str, page_size: i32) -> Vec<DeadLetter> {
    let (mut letters, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDeadLettersRequest { consumer: consumer.to_owned(), page_size, page_token };
        let page = client.list_dead_letters(request).await.unwrap().into_inner();
        assert!(page.dead_letters.len() <= usize::try_from(page_size).unwrap());
        letters.extend(page.dead_letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return letters;
        }
    }
}

#[tokio::test]
async fn dead_letters_of_every_consumer_are_listed_and_offered_again() {
    let (bus, letterbox) = (Arc::new(InProcessBus::default()), Arc::new(MemoryLetterbox::default()));
    for name in ["painter", "printer"] {
        bus.subscribe(Arc::new(Idle(name)), letterbox.clone());
    }
    let letters: Vec<Letter> = (1..=5).map(letter).collect();
    letterbox.put_aside("painter", &letters[..3]).await.unwrap();
    letterbox.put_aside("printer", &letters[2..]).await.unwrap();
    let (_admin, address) = start(bus).await;
    let mut client = EventServiceClient::new(channel(address));

    let all = list(&mut client, "", 4).await;
    assert_eq!((all.len(), list(&mut client, "painter", 1).await.len()), (6, 3), "{all:?}");
    let first = all.iter().find(|letter| letter.event.as_ref().is_some_and(|event| event.sequence == 1)).unwrap();
    assert_eq!((first.consumer.as_str(), first.attempts, first.last_error.as_str()), ("painter", 5, "no such colour"));

    let mut replay = async |consumer: &str, event_ids: Vec<String>| {
        let request_id = RequestId::random().to_string();
        let request = ReplayDeadLettersRequest { request_id, consumer: consumer.to_owned(), event_ids };
        let replayed = client.replay_dead_letters(request).await;
        replayed.map(|answer| answer.into_inner().replayed_count).map_err(|status| to_fault(&status))
    };
    let one = vec![letters[0].event.event_id.to_string()];
    assert_eq!(replay("painter", one.clone()).await, Ok(1));
    assert_eq!(replay("painter", one).await, Ok(0), "it is on its way");
    assert_eq!(replay("printer", Vec::new()).await, Ok(3), "all of that consumer's");
    assert_eq!(replay("potter", Vec::new()).await.unwrap_err().reason, Reason::NotFound);
    let wrong = replay("", vec!["first".to_owned()]).await.unwrap_err();
    let fields: Vec<_> = wrong.fields.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["consumer", "event_ids[0]"]);
}
