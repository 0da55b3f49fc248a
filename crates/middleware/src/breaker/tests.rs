use std::task::Waker;

use super::*;
use crate::{
    bulkhead::Bulkhead,
    config::BulkheadConfig,
    testing::{Answer, Double, READ, WATCH, call, ending, outcome, policies, reason, request},
};

fn breaker<S>(inner: S) -> Breaker<S> {
    Breaker::new(inner, &BreakerConfig::default(), &AttemptConfig::default(), &policies(), &Quota::new(1))
}

async fn after_twenty(answer: Answer) -> bool {
    let mut client = breaker(Double::new([answer]));
    for _ in 0..20 {
        outcome(&mut client, request(READ)).await;
    }
    client.is_closed()
}

#[tokio::test(start_paused = true)]
async fn failures_open_it_wherever_they_are_told() {
    for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Internal, Code::Unknown, Code::ResourceExhausted] {
        assert!(!after_twenty(Answer::Broken(code)).await, "{code:?} by transport");
        assert!(!after_twenty(Answer::Refusal(code)).await, "{code:?} in headers");
        assert!(!after_twenty(Answer::Late(code)).await, "{code:?} in trailers");
    }
}

#[tokio::test(start_paused = true)]
async fn business_refusals_do_not() {
    for code in [Code::FailedPrecondition, Code::NotFound, Code::InvalidArgument, Code::AlreadyExists, Code::Aborted] {
        assert!(after_twenty(Answer::Refusal(code)).await, "{code:?}");
        assert!(after_twenty(Answer::Late(code)).await, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_answers_open_it() {
    let after = |millis| Answer::After(Duration::from_millis(millis), Box::new(Answer::Good));
    assert!(after_twenty(after(790)).await);
    // All of them, within the window: one after the other they would be too few.
    let client = breaker(Double::new([after(810)]));
    futures_util::future::join_all((0..20).map(|_| {
        let mut client = client.clone();
        async move { outcome(&mut client, request(READ)).await }
    }))
    .await;
    assert!(!client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_say_nothing() {
    let client = breaker(Double::new([Answer::Hang]));
    for _ in 0..100 {
        let mut client = client.clone();
        let given_up = tokio::time::timeout(Duration::from_millis(1), outcome(&mut client, request(READ))).await;
        assert!(given_up.is_err());
    }
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn our_own_full_bulkhead_says_nothing_about_the_target() {
    let server = Double::new([Answer::HangInBody]);
    let mut client = breaker(Bulkhead::new(server, &BulkheadConfig { reads: 1, writes: 1, streams: 1 }, &policies()));
    let _held = call(&mut client, request(READ)).await.unwrap();
    for _ in 0..100 {
        assert_eq!(outcome(&mut client, request(READ)).await, Code::ResourceExhausted);
    }
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_ready_and_refuses_with_the_time_to_wait() {
    let server = Double::new([Answer::Broken(Code::Unavailable)]);
    let mut client = breaker(server.clone());
    for _ in 0..20 {
        outcome(&mut client, request(READ)).await;
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(client.poll_ready(&mut cx).is_ready(), "never pending without somebody to wake it");
    let answer = call(&mut client, request(READ)).await;
    assert_eq!((reason(&answer), server.calls()), (Some(Reason::BreakerOpen), 20));
    let fault = to_fault(&answer.unwrap_err());
    assert!((3..=7).contains(&fault.retry_after.unwrap().as_secs()), "{:?}", fault.retry_after);
    assert_eq!(fault.metadata["service"], "shop.v1.Shop");

    server.now([Answer::Good]);
    tokio::time::sleep(fault.retry_after.unwrap() + Duration::from_millis(1)).await;
    for _ in 0..4 {
        assert_eq!(outcome(&mut client, request(READ)).await, Code::Ok);
    }
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_when_it_begins() {
    let client = breaker(Double::new([Answer::HangInBody]));
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(call(&mut client.clone(), request(WATCH)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(streams);
    assert!(client.is_closed());
    let mut failing = breaker(Double::new([Answer::Refusal(Code::Unavailable)]));
    for _ in 0..20 {
        outcome(&mut failing, request(WATCH)).await;
    }
    assert!(!failing.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_sold_out_sale_still_closes_it() {
    let server = Double::new([Answer::Broken(Code::Unavailable)]);
    let mut client = breaker(server.clone());
    for _ in 0..20 {
        outcome(&mut client, request(READ)).await;
    }
    server.now([Answer::Refusal(Code::FailedPrecondition)]);
    tokio::time::sleep(Duration::from_secs(7)).await;
    for _ in 0..4 {
        let refused = call(&mut client, request(READ)).await.unwrap();
        assert_eq!(ending(refused).await, Code::FailedPrecondition);
    }
    assert!(client.is_closed());
}
