use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use spillway_types::Code;

use super::*;
use crate::testing::{Answer, Double, READ, REPEATABLE, WRITE, call, outcome, policies, request};

fn retry(inner: Double) -> Retry<Double> {
    retry_with(inner, &RetryConfig::default())
}

fn retry_with(inner: Double, config: &RetryConfig) -> Retry<Double> {
    Retry::new(inner, config, &policies())
}

async fn attempts(path: &str, answer: Answer) -> usize {
    let server = Double::new([answer]);
    outcome(&mut retry(server.clone()), request(path)).await;
    server.calls()
}

#[tokio::test(start_paused = true)]
async fn what_had_no_effect_is_tried_three_times_for_every_method() {
    for path in [READ, WRITE, REPEATABLE] {
        assert_eq!(attempts(path, Answer::Refusal(Code::Unavailable)).await, 3, "{path} by trailers-only");
        assert_eq!(attempts(path, Answer::Broken(Code::Unavailable)).await, 3, "{path} by transport");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_tried_again_only_where_that_is_safe() {
    for code in [Code::DeadlineExceeded, Code::Cancelled, Code::Internal, Code::Unknown, Code::DataLoss] {
        assert_eq!(attempts(WRITE, Answer::Broken(code)).await, 1, "{code:?}");
        assert_eq!(attempts(REPEATABLE, Answer::Broken(code)).await, 3, "{code:?}");
        assert_eq!(attempts(READ, Answer::Refusal(code)).await, 3, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_in_doubt_stays_in_doubt_until_it_is_answered() {
    let told = async |path: &str, last: Answer| {
        let server = Double::new([Answer::Broken(Code::Unknown), Answer::Broken(Code::Unavailable), last]);
        outcome(&mut retry(server), request(path)).await
    };
    assert_eq!(told(REPEATABLE, Answer::Broken(Code::Unavailable)).await, Code::Unknown);
    assert_eq!(told(REPEATABLE, Answer::Refusal(Code::ResourceExhausted)).await, Code::Unknown);
    assert_eq!(told(REPEATABLE, Answer::Refusal(Code::FailedPrecondition)).await, Code::FailedPrecondition);
    assert_eq!(told(REPEATABLE, Answer::Good).await, Code::Ok);
    assert_eq!(told(READ, Answer::Broken(Code::Unavailable)).await, Code::Unavailable, "a read has no effect");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_argued_with() {
    for code in [
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Unauthenticated,
    ] {
        assert_eq!(attempts(READ, Answer::Refusal(code)).await, 1, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_too_busy_says_when_or_is_left_alone() {
    assert_eq!(attempts(READ, Answer::Refusal(Code::ResourceExhausted)).await, 1);
    assert_eq!(attempts(READ, Answer::Pushback(Code::ResourceExhausted, "10")).await, 3);
    assert_eq!(attempts(READ, Answer::Pushback(Code::ResourceExhausted, "-1")).await, 1);
}

#[tokio::test(start_paused = true)]
async fn pushback_is_obeyed_to_the_millisecond_and_for_good() {
    let server = Double::new([Answer::Pushback(Code::Unavailable, "777"), Answer::Good]);
    let began = Instant::now();
    assert_eq!(outcome(&mut retry(server.clone()), request(READ)).await, Code::Ok);
    assert_eq!(began.elapsed().as_millis(), 777);
    for text in ["-1", "soon", ""] {
        assert_eq!(attempts(READ, Answer::Pushback(Code::Unavailable, text)).await, 1, "{text:?}");
    }
    // The same from details, as a fault of ours carries it.
    let fault = spillway_types::Fault::new(spillway_types::Reason::Draining, "going")
        .with_retry_after(Duration::from_millis(5));
    let response = crate::status::from_fault(fault).into_http::<Body>();
    assert_eq!(pushback_of(&early_failure(&response).unwrap()), Pushback::After(Duration::from_millis(5)));
}

#[tokio::test(start_paused = true)]
async fn the_server_is_told_of_earlier_attempts_and_gets_the_same_request() {
    let server = Double::new([Answer::Refusal(Code::Unavailable), Answer::Refusal(Code::Unavailable), Answer::Good]);
    let mut sent = request(READ);
    sent.headers_mut().insert("x-tenant", "acme".parse().unwrap());
    assert_eq!(outcome(&mut retry(server.clone()), sent).await, Code::Ok);
    let seen = server.seen();
    let previous: Vec<_> =
        seen.iter().map(|seen| seen.head.headers.get(PREVIOUS_ATTEMPTS).map(|value| value.to_str().unwrap())).collect();
    assert_eq!(previous, [None, Some("1"), Some("2")]);
    assert!(seen.iter().all(|seen| seen.body == "request" && seen.head.headers["x-tenant"] == "acme"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_begun_commits_the_call() {
    assert_eq!(attempts(READ, Answer::Late(Code::Unavailable)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_long_or_still_being_written_is_sent_once() {
    let long = Bytes::from(vec![7; 65_537]);
    let server = Double::new([Answer::Refusal(Code::Unavailable)]);
    let sent = request(READ).map(|_| Body::new(Full::new(long.clone())));
    outcome(&mut retry(server.clone()), sent).await;
    assert_eq!((server.calls(), server.seen()[0].body.len()), (1, 65_537), "whole, but once");

    let frame = |text: &'static str| Ok::<_, Status>(Frame::data(Bytes::from_static(text.as_bytes())));
    let later = stream::once(async move {
        sleep(Duration::from_millis(5)).await;
        frame("second")
    });
    let server = Double::new([Answer::Refusal(Code::Unavailable)]);
    let written = Body::new(StreamBody::new(stream::iter([frame("first ")]).chain(later.boxed())));
    outcome(&mut retry(server.clone()), request(READ).map(|_| written)).await;
    assert_eq!((server.calls(), server.seen()[0].body.clone()), (1, Bytes::from("first second")));

    let exact = request(READ).map(|_| Body::new(Full::new(long.slice(1..))));
    let server = Double::new([Answer::Refusal(Code::Unavailable)]);
    outcome(&mut retry(server.clone()), exact).await;
    assert_eq!(server.calls(), 3, "just short enough");
}

#[tokio::test(start_paused = true)]
async fn no_retry_begins_that_cannot_end_in_time() {
    let server = Double::new([Answer::Pushback(Code::Unavailable, "500")]);
    let mut sent = request(READ);
    sent.extensions_mut().insert(Deadline(Instant::now() + Duration::from_millis(400)));
    let began = Instant::now();
    assert_eq!(outcome(&mut retry(server.clone()), sent).await, Code::Unavailable);
    assert_eq!((server.calls(), began.elapsed()), (1, Duration::ZERO), "the failure is told at once");

    // 300 ms are left after the wait, but the method usually takes 350.
    let slow = Answer::After(Duration::from_millis(350), Box::new(Answer::Good));
    let server = Double::new([slow, Answer::Pushback(Code::Unavailable, "100")]);
    let mut client = retry(server.clone());
    call(&mut client, request(READ)).await.unwrap();
    let mut sent = request(READ);
    sent.extensions_mut().insert(Deadline(Instant::now() + Duration::from_millis(400)));
    outcome(&mut client, sent).await;
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn waits_are_spread_over_their_whole_range_also_at_the_cap() {
    let config = RetryConfig { attempts: 5, base_ms: 2_000, budget_floor_per_s: 10_000, ..RetryConfig::default() };
    let mut waits = Vec::new();
    for _ in 0..250 {
        let server = Double::new([Answer::Refusal(Code::Unavailable)]);
        outcome(&mut retry_with(server.clone(), &config), request(READ)).await;
        let seen = server.seen();
        waits.extend(seen.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()));
    }
    let mean = waits.iter().sum::<f64>() / 1_000.0;
    let variance = waits.iter().map(|wait| (wait - mean).powi(2)).sum::<f64>() / 1_000.0;
    assert_eq!(waits.len(), 1_000);
    assert!((0.9..1.1).contains(&mean), "mean {mean}");
    assert!(variance.sqrt() > 0.2 * mean, "deviation {}", variance.sqrt());
    assert!(waits.iter().all(|wait| *wait <= 2.001));
}

#[tokio::test(start_paused = true)]
async fn the_range_doubles_and_begins_anew_after_a_pushback() {
    let client = retry(Double::new([]));
    let most: Vec<_> = (0..8).map(|backoffs| client.shared.most(backoffs) / 1_000).collect();
    assert_eq!(most, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
    let mut progress = Progress { attempts: 1, backoffs: 6, policy: Policy::read(), deadline: None, doubt: None };
    let pushed = Answer::Pushback(Code::Unavailable, "1");
    let pushed = early_failure(&call(&mut Double::new([pushed]), request(READ)).await.unwrap()).unwrap();
    client.shared.schedule(&mut progress, &pushed).unwrap();
    assert_eq!(progress.backoffs, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_target_gets_a_tenth_more_and_the_floor() {
    let server = Double::new([Answer::Refusal(Code::Unavailable)]);
    let client = retry(server.clone());
    let began = Instant::now();
    for _ in 0..1_000 {
        outcome(&mut client.clone(), request(READ)).await;
    }
    let floor = 10 * usize::try_from(began.elapsed().as_secs() + 2).unwrap();
    assert!((1_100..=1_100 + floor).contains(&server.calls()), "{} with {floor} from the floor", server.calls());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_gives_its_token_back() {
    let config = RetryConfig { budget_percent: 0, budget_floor_per_s: 1, ..RetryConfig::default() };
    let client = retry_with(Double::new([Answer::Pushback(Code::Unavailable, "60000")]), &config);
    for _ in 0..100 {
        let mut client = client.clone();
        let waiting = tokio::time::timeout(Duration::from_millis(1), outcome(&mut client, request(READ))).await;
        assert!(waiting.is_err(), "it waits, so it holds the only token");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_made_by_an_instance_that_was_polled_ready() {
    // The double panics otherwise, and a clone of it is not ready.
    let server = Double::new([Answer::Refusal(Code::Unavailable), Answer::Refusal(Code::Unavailable), Answer::Good]);
    let mut client = retry(server.clone());
    assert_eq!(outcome(&mut client, request(READ)).await, Code::Ok);
    assert_eq!(outcome(&mut client.clone(), request(READ)).await, Code::Ok);
    assert_eq!(server.calls(), 4);
}
