use std::sync::Mutex;

use http::HeaderMap;
use proptest::prelude::proptest;
use spillway_types::Code;
use tokio::time::sleep;
use tower::service_fn;

use super::*;
use crate::{
    status::{from_tonic, to_fault},
    testing::{Answer, Double, READ, WATCH, WRITE, call, ending, outcome, policies, reason, request},
};

fn headers(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(wire::GRPC_TIMEOUT, value.parse().unwrap());
    headers
}

fn with_timeout(path: &str, value: &str) -> Request<Body> {
    let mut request = request(path);
    *request.headers_mut() = headers(value);
    request
}

fn incoming(inner: Double) -> DeadlineIn<Double> {
    DeadlineIn::new(inner, &DeadlineConfig::default(), &policies())
}

fn outgoing(inner: Double) -> DeadlineOut<Double> {
    DeadlineOut::new(inner, &DeadlineConfig::default(), &policies())
}

fn early<B>(response: &Response<B>) -> Option<Code> {
    early_code(response)
}

#[test]
fn a_timeout_is_read_by_the_letter() {
    let second = Duration::from_secs(1);
    for (text, expected) in [
        ("1H", Some(3_600 * second)),
        ("2M", Some(120 * second)),
        ("3S", Some(3 * second)),
        ("500m", Some(second / 2)),
        ("7u", Some(Duration::from_micros(7))),
        ("9n", Some(Duration::from_nanos(9))),
        ("0m", Some(Duration::ZERO)),
        ("00000001S", Some(second)),
        ("99999999H", Some(Duration::from_secs(359_999_996_400))),
        ("", None),
        ("S", None),
        ("1", None),
        ("1x", None),
        ("-1S", None),
        ("+1S", None),
        ("1.5S", None),
        (" 1S", None),
        ("1 S", None),
        ("1s", None),
        ("123456789n", None),
        ("1SS", None),
    ] {
        assert_eq!(wire::read(&headers(text)).ok().flatten(), expected, "{text:?}");
    }
    let mut twice = headers("1S");
    twice.append(wire::GRPC_TIMEOUT, "2S".parse().unwrap());
    assert!(wire::read(&twice).is_err(), "two deadlines are none");
    assert_eq!(wire::read(&HeaderMap::new()), Ok(None));
}

/// The longest that fits into eight digits of seconds.
const MOST_NANOS: u64 = 99_999_999_000_000_000;

proptest! {
    #[test]
    fn a_timeout_is_never_lengthened_on_the_wire(nanos in 0..=MOST_NANOS) {
        let given = Duration::from_nanos(nanos);
        let mut headers = HeaderMap::new();
        wire::write(&mut headers, given);
        let read = wire::read(&headers).unwrap().unwrap();
        assert!(read <= given, "{read:?} > {given:?}");
        // Units are a thousand apart and eight digits fit, so five digits are left of it at least.
        assert!(given - read <= given / 100_000, "{read:?} << {given:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_timeout_is_refused_and_the_handler_is_not_entered() {
    let handler = Double::new([Answer::Good]);
    let response = call(&mut incoming(handler.clone()), with_timeout(READ, "1x")).await.unwrap();
    assert_eq!((early(&response), handler.calls()), (Some(Code::InvalidArgument), 0));

    let server = Double::new([Answer::Good]);
    let answer = call(&mut outgoing(server.clone()), with_timeout(READ, "1x")).await.map(drop);
    assert_eq!((reason(&answer), server.calls()), (Some(Reason::InvalidRequest), 0));
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_on_arrival_is_not_begun() {
    let handler = Double::new([Answer::Good]);
    let response = call(&mut incoming(handler.clone()), with_timeout(READ, "0m")).await.unwrap();
    assert_eq!((early(&response), handler.calls()), (Some(Code::DeadlineExceeded), 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_ends_at_its_deadline_and_never_as_cancelled() {
    for (path, timeout, expected) in [
        (READ, None, 2_000),
        (WRITE, None, 5_000),
        ("/shop.v1.Shop/Unheard", None, 5_000),
        (WRITE, Some("300m"), 300),
        (READ, Some("1H"), 30_000),
        (WATCH, Some("60S"), 60_000),
    ] {
        let began = Instant::now();
        let request = timeout.map_or_else(|| request(path), |timeout| with_timeout(path, timeout));
        let response = call(&mut incoming(Double::new([Answer::Hang])), request).await.unwrap();
        assert_eq!(early(&response), Some(Code::DeadlineExceeded));
        assert_eq!(began.elapsed().as_millis(), expected, "{path} {timeout:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_no_deadline_unless_the_caller_gives_one() {
    let hour = Answer::After(Duration::from_secs(3_600), Box::new(Answer::Good));
    assert_eq!(ending(call(&mut incoming(Double::new([hour.clone()])), request(WATCH)).await.unwrap()).await, Code::Ok);
    assert_eq!(outcome(&mut outgoing(Double::new([hour])), request(WATCH)).await, Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn bodies_end_at_the_deadline_too() {
    let began = Instant::now();
    let response = call(&mut incoming(Double::new([Answer::HangInBody])), with_timeout(READ, "700m")).await.unwrap();
    assert_eq!(early(&response), None, "the headers came in time");
    // By trailers: an error would reset the stream, which the caller would read as CANCELLED.
    let whole = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    let status = Status::from_header_map(whole.trailers().unwrap()).unwrap();
    assert_eq!(to_fault(&status).reason, Reason::DeadlineExceeded);
    assert_eq!(began.elapsed().as_millis(), 700);

    let began = Instant::now();
    assert_eq!(outcome(&mut outgoing(Double::new([Answer::HangInBody])), request(READ)).await, Code::DeadlineExceeded);
    assert_eq!(began.elapsed().as_millis(), 2_000);
}

/// What a hop had left when its handler began.
type Left = Arc<Mutex<Vec<Duration>>>;

/// A server of which the handler calls the next one, `hops` times.
fn hop(hops: usize, left: Left, request: Request<Body>) -> BoxFuture<Result<Response<Body>, Status>> {
    let handler = service_fn(move |_: Request<Body>| {
        let left = Arc::clone(&left);
        Box::pin(async move {
            left.lock().unwrap().push(current().unwrap() - Instant::now());
            if hops > 0 {
                sleep(Duration::from_millis(10)).await;
                let next = service_fn(move |mut request: Request<Body>| {
                    let deadline = request.extensions().get::<Deadline>().unwrap().0;
                    wire::write(request.headers_mut(), deadline - Instant::now());
                    hop(hops - 1, Arc::clone(&left), request)
                });
                let mut client = DeadlineOut::new(next, &DeadlineConfig::default(), &policies());
                client.call(self::request(READ)).await?;
            }
            Ok(Response::new(Body::empty()))
        }) as BoxFuture<_>
    });
    DeadlineIn::new(handler, &DeadlineConfig::default(), &policies()).call(request)
}

#[tokio::test(start_paused = true)]
async fn each_hop_has_less_time_than_the_one_before() {
    let left = Left::default();
    hop(3, Arc::clone(&left), with_timeout(READ, "1S")).await.unwrap();
    let left: Vec<_> = left.lock().unwrap().iter().map(Duration::as_millis).collect();
    // Ten milliseconds of work and two percent of the rest a hop.
    assert_eq!(left, [1_000, 970, 940, 912]);
}

#[tokio::test(start_paused = true)]
async fn work_that_outlives_its_caller_has_a_deadline_of_its_own() {
    let now = Instant::now();
    let server = Double::new([Answer::Good]);
    scope(Some(now + Duration::from_millis(100)), async {
        assert_eq!(current(), Some(now + Duration::from_millis(100)));
        call(&mut outgoing(server.clone()), request(WRITE)).await.unwrap();
        scope(None, async {
            call(&mut outgoing(server.clone()), request(WRITE)).await.unwrap();
        })
        .await;
    })
    .await;
    assert_eq!(current(), None);
    let deadlines: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| (seen.head.extensions.get::<Deadline>().unwrap().0 - now).as_millis())
        .collect();
    assert_eq!(deadlines, [95, 5_000]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_is_up_is_not_served_any_more() {
    let server = Double::new([Answer::Good]);
    let answer = scope(Some(Instant::now() + Duration::from_millis(4)), async {
        call(&mut outgoing(server.clone()), request(READ)).await.map(drop)
    })
    .await;
    assert_eq!((reason(&answer), server.calls()), (Some(Reason::DeadlineExceeded), 0), "the reserve alone is 5 ms");
}

#[tokio::test(start_paused = true)]
async fn less_time_than_the_method_usually_takes_is_refused() {
    let slow = Answer::After(Duration::from_millis(400), Box::new(Answer::Good));
    let handler = Double::new([slow]);
    let mut server = incoming(handler.clone());
    for _ in 0..10 {
        call(&mut server, request(READ)).await.unwrap();
    }
    let response = call(&mut server, with_timeout(READ, "200m")).await.unwrap();
    assert_eq!((early(&response), handler.calls()), (Some(Code::DeadlineExceeded), 10));
    let response = call(&mut server, with_timeout(READ, "600m")).await.unwrap();
    assert_eq!((early(&response), handler.calls()), (None, 11));
    // When it has become quick again, refusals do not go on for ever.
    handler.now([Answer::Good]);
    for _ in 0..40 {
        call(&mut server, with_timeout(READ, "200m")).await.unwrap();
    }
    assert!(handler.calls() > 11);
}

#[test]
fn codes_of_local_endings_are_the_tables() {
    assert_eq!(from_tonic(late().code()), Code::DeadlineExceeded);
}
