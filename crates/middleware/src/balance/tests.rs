use std::time::Duration;

use futures_util::future::join_all;
use spillway_types::Code;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::{
    ClientConfig, Preset,
    config::BulkheadConfig,
    stack::tests::{Stack, place, set_of, stack_on},
    testing::{Answer, Double, READ, WRITE, call, ending, outcome, reason, request},
};

fn doubles<const N: usize>(answer: &Answer) -> [Double; N] {
    std::array::from_fn(|_| Double::new([answer.clone()]))
}

fn step(servers: &[Double]) -> Stack {
    let config = ClientConfig::default();
    stack_on(&set_of(&config, servers), &config, Preset::Step)
}

async fn many(client: &Stack, calls: usize) -> Vec<Code> {
    join_all((0..calls).map(|_| {
        let mut client = client.clone();
        async move { outcome(&mut client, request(READ)).await }
    }))
    .await
}

#[tokio::test(start_paused = true)]
async fn calls_spread_evenly() {
    let servers = doubles::<3>(&Answer::Good);
    let mut client = step(&servers);
    for _ in 0..3_000 {
        outcome(&mut client, request(READ)).await;
    }
    let calls: Vec<_> = servers.iter().map(Double::calls).collect();
    assert!(calls.iter().all(|calls| (850..=1_150).contains(calls)), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_gets_less() {
    let slow = Double::new([Answer::After(Duration::from_millis(90), Box::new(Answer::Good))]);
    let quick = Double::new([Answer::After(Duration::from_millis(10), Box::new(Answer::Good))]);
    let client = step(&[slow.clone(), quick.clone()]);
    let callers = (0..20).map(|_| {
        let mut client = client.clone();
        async move {
            for _ in 0..100 {
                outcome(&mut client, request(READ)).await;
            }
        }
    });
    join_all(callers).await;
    assert!(slow.calls() * 4 < quick.calls(), "{} and {}", slow.calls(), quick.calls());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_fast_attracts_nothing() {
    let failing = Double::new([Answer::Refusal(Code::Internal)]);
    let good = Double::new([Answer::After(Duration::from_millis(10), Box::new(Answer::Good))]);
    let client = step(&[failing.clone(), good.clone()]);
    let mut codes = Vec::new();
    for _ in 0..50 {
        codes.extend(many(&client, 10).await);
    }
    let failed = codes.iter().filter(|code| **code != Code::Ok).count();
    assert_eq!((failed, codes.len()), (failing.calls(), 500));
    assert!(failed <= 30, "{failed} of 500 calls failed: its breaker needs 20 of them to open");
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_goes_to_another_endpoint_whatever_it_is() {
    let servers = [Double::new([Answer::NeverSent]), Double::new([Answer::Good])];
    let mut client = step(&servers);
    for _ in 0..100 {
        assert_eq!(outcome(&mut client, request(WRITE)).await, Code::Ok);
    }
    assert_eq!(servers[1].calls(), 100);
    assert!(servers[1].seen().iter().all(|seen| seen.body == "request"), "with its body");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_sent_is_sent_once() {
    for answer in [Answer::Broken(Code::Unknown), Answer::Refusal(Code::Unavailable), Answer::Hang, Answer::Leaving] {
        let servers = doubles::<3>(&answer);
        assert_ne!(outcome(&mut step(&servers), request(WRITE)).await, Code::Ok, "{answer:?}");
        assert_eq!(servers.iter().map(Double::calls).sum::<usize>(), 1, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_takes_comes_to_an_end() {
    let servers = doubles::<3>(&Answer::NeverSent);
    let refused = call(&mut step(&servers), request(WRITE)).await.map(drop);
    assert_eq!(reason(&refused), Some(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_gone_around() {
    let config =
        ClientConfig { bulkhead: BulkheadConfig { reads: 2, writes: 1, streams: 1 }, ..ClientConfig::default() };
    let servers = doubles::<2>(&Answer::After(Duration::from_millis(10), Box::new(Answer::Good)));
    let client = stack_on(&set_of(&config, &servers), &config, Preset::Step);
    assert_eq!(many(&client, 4).await, [Code::Ok; 4], "two places each");
    let codes = many(&client, 5).await;
    assert_eq!(codes.iter().filter(|code| **code == Code::ResourceExhausted).count(), 1, "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn half_of_the_breakers_open_and_the_others_go_on() {
    let servers = doubles::<2>(&Answer::Refusal(Code::Internal));
    let mut client = step(&servers);
    for _ in 0..200 {
        let answer = call(&mut client, request(READ)).await.unwrap();
        assert_eq!(ending(answer).await, Code::Internal, "an answer, and no refusal of ours");
    }
    let fewer = servers.iter().map(Double::calls).min();
    assert!(fewer <= Some(20), "one of them was ejected: {fewer:?}");
    for server in &servers {
        server.now([Answer::Good]);
    }
    assert_eq!(outcome(&mut client, request(READ)).await, Code::Ok, "and the end of it is seen at once");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_going_is_left_alone_unless_it_is_the_only_one() {
    let servers = [Double::new([Answer::Leaving]), Double::new([Answer::Good])];
    let mut client = step(&servers);
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(outcome(&mut client, request(READ)).await != Code::Ok);
    }
    assert!(refused <= 1, "{refused} calls were refused");
    servers[1].connected(false);
    servers[0].now([Answer::Good]);
    assert_eq!(outcome(&mut client, request(READ)).await, Code::Ok, "there is nobody else");
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_another_endpoint() {
    let config = ClientConfig::default();
    for _ in 0..50 {
        let servers = [Double::new([Answer::Leaving]), Double::new([Answer::Good])];
        let mut client = stack_on(&set_of(&config, &servers), &config, Preset::Edge);
        assert_eq!(outcome(&mut client, request(WRITE)).await, Code::Ok);
        assert!(servers[0].calls() <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_said_at_once_with_a_time_to_come_back() {
    let config = ClientConfig::default();
    let servers = doubles::<2>(&Answer::Good);
    let set = set_of(&config, &servers);
    for server in &servers {
        server.refuse(set.changed());
    }
    let mut client = stack_on(&set, &config, Preset::Step);
    let began = Instant::now();
    let status = call(&mut client, request(READ)).await.map(drop).unwrap_err();
    let fault = to_fault(&status);
    assert_eq!((fault.reason, began.elapsed()), (Reason::Unreachable, Duration::ZERO));
    let after = fault.retry_after.unwrap();
    assert!((100..=300).contains(&after.as_millis()), "{after:?}");
    servers[1].connected(true);
    assert_eq!(outcome(&mut client, request(READ)).await, Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_connection_that_is_being_made_but_not_for_long() {
    let config = ClientConfig::default();
    let server = Double::new([Answer::Good]);
    server.connected(false);
    let set = set_of(&config, [&server]);
    let mut client = stack_on(&set, &config, Preset::Step);
    let comes = async {
        sleep(Duration::from_millis(300)).await;
        server.connected(true);
        set.changed().notify_waiters();
    };
    assert_eq!(tokio::join!(outcome(&mut client, request(READ)), comes).0, Code::Ok);
    server.connected(false);
    let began = Instant::now();
    assert_eq!(outcome(&mut client, request(READ)).await, Code::Unavailable);
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_and_go_and_those_that_stay_are_known() {
    let config = ClientConfig::default();
    let servers = doubles::<3>(&Answer::Good);
    servers[0].now([Answer::Refusal(Code::Internal)]);
    let set = set_of(&config, &servers[..1]);
    let mut client = stack_on(&set, &config, Preset::Step);
    for _ in 0..20 {
        outcome(&mut client, request(READ)).await;
    }
    let refused = call(&mut client, request(READ)).await.map(drop);
    assert_eq!(reason(&refused), Some(Reason::BreakerOpen));
    place(&set, servers.iter().enumerate());
    for _ in 0..100 {
        assert_eq!(outcome(&mut client, request(READ)).await, Code::Ok, "its breaker is still open");
    }
    place(&set, servers.iter().enumerate().skip(2));
    let before = servers[1].calls();
    for _ in 0..20 {
        assert_eq!(outcome(&mut client, request(READ)).await, Code::Ok);
    }
    assert_eq!((servers[0].calls(), servers[1].calls()), (20, before), "who is gone gets nothing");
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_weigh_no_more() {
    let servers = doubles::<2>(&Answer::Hang);
    let client = step(&servers);
    for _ in 0..40 {
        let mut client = client.clone();
        let hung = timeout(Duration::from_millis(1), async move { outcome(&mut client, request(READ)).await }).await;
        assert!(hung.is_err());
    }
    let calls: Vec<_> = servers.iter().map(Double::calls).collect();
    assert!(calls.iter().all(|calls| *calls >= 8), "{calls:?}: neither of them seems busier");
}
