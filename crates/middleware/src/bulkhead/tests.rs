use futures_util::FutureExt;

use super::*;
use crate::testing::{Answer, Double, READ, WATCH, WRITE, call, ending, policies, reason, request};

fn bulkhead(inner: Double, reads: usize) -> Bulkhead<Double> {
    Bulkhead::new(inner, &BulkheadConfig { reads, writes: 1, streams: 1 }, &policies())
}

#[tokio::test]
async fn a_call_beyond_the_limit_is_refused_at_once_and_others_go_on() {
    let server = Double::new([Answer::Hang]);
    let mut client = bulkhead(server.clone(), 1);
    let first = client.clone();
    let first = tokio::spawn(async move { call(&mut { first }, request(READ)).await.map(drop) });
    tokio::task::yield_now().await;
    let second = call(&mut client, request(READ)).now_or_never().expect("no waiting").map(drop);
    assert_eq!(reason(&second), Some(Reason::BulkheadFull));
    server.now([Answer::Good]);
    assert_eq!(
        ending(call(&mut client, request(WRITE)).await.unwrap()).await,
        Code::Ok,
        "writes have places of their own"
    );
    first.abort();
    assert!(first.await.is_err());
    assert_eq!(
        ending(call(&mut client, request(READ)).await.unwrap()).await,
        Code::Ok,
        "a dropped call frees its place"
    );
}

#[tokio::test]
async fn the_place_is_held_to_the_end_of_the_answer() {
    let mut client = bulkhead(Double::new([Answer::HangInBody]), 1);
    let stream = call(&mut client, request(WATCH)).await.unwrap();
    let second = call(&mut client, request(WATCH)).await.map(drop);
    assert_eq!(reason(&second), Some(Reason::BulkheadFull), "the headers came, the body goes on");
    drop(stream);
    call(&mut client, request(WATCH)).await.unwrap();
}

#[tokio::test]
async fn the_place_is_free_once_the_last_frame_was_read() {
    let mut client = bulkhead(Double::new([Answer::Good]), 1);
    let mut response = call(&mut client, request(READ)).await.unwrap();
    assert_eq!(client.free_reads(), 0);
    while let Some(frame) = http_body_util::BodyExt::frame(response.body_mut()).await {
        frame.unwrap();
    }
    assert_eq!(client.free_reads(), 1, "although the body is still there");
}

#[tokio::test]
async fn five_hundred_clients_that_are_ready_hold_no_place() {
    let client = bulkhead(Double::new([Answer::Good]), 10);
    let mut idle: Vec<_> = (0..500).map(|_| client.clone()).collect();
    for client in &mut idle {
        std::future::poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
    }
    assert_eq!(client.free_reads(), 10);
    assert_eq!(ending(call(&mut client.clone(), request(READ)).await.unwrap()).await, Code::Ok);
}
