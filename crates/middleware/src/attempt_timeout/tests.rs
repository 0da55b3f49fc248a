use spillway_types::Code;
use tonic::TimeoutExpired;
use tower::service_fn;

use super::*;
use crate::{
    testing::{Answer, Double, READ, WATCH, WRITE, call, outcome, policies, request},
    transport::Transport,
};

fn timed(inner: Double) -> AttemptTimeout<Double> {
    AttemptTimeout::new(inner, &AttemptConfig::default(), &policies())
}

fn due(path: &str, millis: u64) -> Request<Body> {
    let mut request = request(path);
    request.extensions_mut().insert(Deadline(Instant::now() + Duration::from_millis(millis)));
    request
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_in_headers_as_in_body() {
    for (path, answer, expected) in
        [(READ, Answer::Hang, 1_000), (READ, Answer::HangInBody, 1_000), (WRITE, Answer::Hang, 4_000)]
    {
        let began = Instant::now();
        assert_eq!(outcome(&mut timed(Double::new([answer])), request(path)).await, Code::DeadlineExceeded);
        assert_eq!(began.elapsed().as_millis(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_to_begin_in_time_and_may_then_go_on() {
    assert_eq!(outcome(&mut timed(Double::new([Answer::Hang])), request(WATCH)).await, Code::DeadlineExceeded);
    let response = call(&mut timed(Double::new([Answer::HangInBody])), request(WATCH)).await.unwrap();
    let going_on = tokio::time::timeout(Duration::from_secs(3_600), crate::testing::ending(response)).await;
    assert!(going_on.is_err(), "still open after an hour");
}

#[tokio::test(start_paused = true)]
async fn the_other_side_is_told_of_the_shorter_of_the_two_limits() {
    let server = Double::new([Answer::Good]);
    let mut client = timed(server.clone());
    call(&mut client, request(READ)).await.unwrap();
    call(&mut client, due(READ, 10_000)).await.unwrap();
    call(&mut client, due(READ, 300)).await.unwrap();
    call(&mut client, due(WATCH, 7_000)).await.unwrap();
    call(&mut client, request(WATCH)).await.unwrap();
    let told: Vec<_> = server.seen().iter().map(|seen| wire::read(&seen.head.headers).unwrap()).collect();
    let expected = [Some(1_000), Some(1_000), Some(299), Some(7_000), None];
    assert_eq!(told, expected.map(|millis| millis.map(Duration::from_millis)));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_before_the_deadline_drops_it() {
    let began = Instant::now();
    let answer = outcome(&mut timed(Double::new([Answer::Hang])), due(READ, 200)).await;
    assert_eq!((answer, began.elapsed().as_millis()), (Code::DeadlineExceeded, 199));
}

#[tokio::test]
async fn the_timer_of_the_channel_itself_reads_deadline_exceeded() {
    let channel = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(TimeoutExpired(())) });
    let channel = tower::ServiceBuilder::new().boxed_clone().service(channel);
    assert_eq!(outcome(&mut Transport::new(channel), request(READ)).await, Code::DeadlineExceeded);
}
