use std::{future::Future, net::SocketAddr, pin::pin, task::Waker, time::Duration};

use spillway_types::{Code, Reason};
use tokio::time::Instant;

use super::*;
use crate::{
    balance::Address,
    config::BulkheadConfig,
    status::to_fault,
    testing::{Answer, Double, READ, REPEATABLE, call, ending, outcome, policies, reason, request},
};

pub(crate) type Stack = ClientStack<Double>;

/// A set with a double at each of the addresses `127.0.0.1:0`, `:1` and so on.
pub(crate) fn set_of<'a>(config: &ClientConfig, servers: impl IntoIterator<Item = &'a Double>) -> Arc<Set<Double>> {
    let set = guarded(config, &policies());
    place(&set, servers.into_iter().enumerate());
    set
}

/// Makes these the endpoints of a set, by the ports of their addresses.
pub(crate) fn place<'a>(set: &Set<Double>, servers: impl IntoIterator<Item = (usize, &'a Double)>) {
    let servers: Vec<_> = servers
        .into_iter()
        .map(|(port, server)| (Address::of(SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()))), server))
        .collect();
    let addresses: Vec<_> = servers.iter().map(|(address, _)| address.clone()).collect();
    let find = |address: &Address| servers.iter().find(|(known, _)| known == address).map(|(_, server)| *server);
    set.replace(&addresses, |address| find(address).unwrap().clone());
}

pub(crate) fn stack_on(set: &Arc<Set<Double>>, config: &ClientConfig, preset: Preset) -> Stack {
    compose(config, &policies(), preset, Arc::clone(set))
}

fn stack<'a>(config: &ClientConfig, preset: Preset, servers: impl IntoIterator<Item = &'a Double>) -> Stack {
    stack_on(&set_of(config, servers), config, preset)
}

fn edge(server: &Double, config: &ClientConfig) -> Stack {
    stack(config, Preset::Edge, [server])
}

fn step(server: &Double, config: &ClientConfig) -> Stack {
    stack(config, Preset::Step, [server])
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_outside_of_retry() {
    let server = Double::new([Answer::Hang]);
    let began = Instant::now();
    assert_eq!(outcome(&mut edge(&server, &ClientConfig::default()), request(READ)).await, Code::DeadlineExceeded);
    // Attempts of 1 s each: the second one does not get its whole second, and there is no third.
    assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_attempt_timeout_is_inside_of_retry_and_frees_the_place() {
    let config =
        ClientConfig { bulkhead: BulkheadConfig { reads: 1, writes: 1, streams: 1 }, ..ClientConfig::default() };
    for hang in [Answer::Hang, Answer::After(Duration::from_secs(60), Box::new(Answer::Good))] {
        let server = Double::new([hang, Answer::Good]);
        assert_eq!(outcome(&mut edge(&server, &config), request(READ)).await, Code::Ok);
        assert_eq!(server.calls(), 2, "with one place only, the second attempt found it free");
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_is_inside_of_retry_and_sees_each_attempt() {
    let server = Double::new([Answer::Refusal(Code::Unavailable)]);
    let client = edge(&server, &ClientConfig::default());
    let mut last = None;
    for _ in 0..10 {
        last = Some(call(&mut client.clone(), request(READ)).await);
    }
    assert_eq!(server.calls(), 20, "ten calls, but it opened after twenty attempts");
    let last = last.unwrap();
    assert_eq!(reason(&last.map(drop)), Some(Reason::BreakerOpen));
}

#[tokio::test(start_paused = true)]
async fn refusals_by_an_open_breaker_take_no_places() {
    let config =
        ClientConfig { bulkhead: BulkheadConfig { reads: 1, writes: 1, streams: 1 }, ..ClientConfig::default() };
    let server = Double::new([Answer::Refusal(Code::Unavailable)]);
    let client = step(&server, &config);
    for _ in 0..20 {
        outcome(&mut client.clone(), request(READ)).await;
    }
    for _ in 0..50 {
        let refused = call(&mut client.clone(), request(READ)).await.map(drop);
        assert_eq!(reason(&refused), Some(Reason::BreakerOpen), "and never BULKHEAD_FULL");
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_step_is_not_tried_again_by_its_stack() {
    for answer in [Answer::Refusal(Code::Unavailable), Answer::Broken(Code::Unknown), Answer::Hang] {
        let server = Double::new([answer]);
        let mut client = step(&server, &ClientConfig::default());
        assert_ne!(outcome(&mut client, request(REPEATABLE)).await, Code::Ok);
        assert_eq!(server.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_opens_the_breaker_even_for_callers_in_a_hurry() {
    let server = Double::new([Answer::Hang]);
    let client = step(&server, &ClientConfig::default());
    for _ in 0..20 {
        let mut hurried = request(READ);
        hurried.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
        assert_eq!(outcome(&mut client.clone(), hurried).await, Code::DeadlineExceeded);
    }
    let refused = call(&mut client.clone(), request(READ)).await.map(drop);
    assert_eq!(reason(&refused), Some(Reason::BreakerOpen), "they were failures, not callers that went away");
}

#[tokio::test(start_paused = true)]
async fn clones_share_their_guards_and_obey_the_readiness_law() {
    // The double panics when a rung calls an instance that was not polled ready.
    let server = Double::new([Answer::Good]);
    let client = edge(&server, &ClientConfig::default());
    for _ in 0..3 {
        let mut clone = client.clone();
        assert_eq!(outcome(&mut clone, request(READ)).await, Code::Ok);
        assert_eq!(outcome(&mut clone, request(READ)).await, Code::Ok);
    }
}

/// Invariant I20: calls dropped at any point leave nothing taken behind.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_anywhere_gives_everything_back() {
    let config =
        ClientConfig { bulkhead: BulkheadConfig { reads: 1, writes: 1, streams: 1 }, ..ClientConfig::default() };
    let answers = [
        Answer::Good,
        Answer::Hang,
        Answer::HangInBody,
        Answer::Refusal(Code::Unavailable),
        Answer::After(Duration::from_millis(30), Box::new(Answer::Late(Code::Aborted))),
    ];
    for answer in answers {
        let server = Double::new([answer]);
        let client = edge(&server, &config);
        for polls in 0..12 {
            let mut client = client.clone();
            let mut whole = pin!(async move { outcome(&mut client, request(READ)).await });
            for _ in 0..polls {
                if whole.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::time::advance(Duration::from_millis(20)).await;
            }
        }
        server.now([Answer::Good]);
        // Whatever the breaker has seen, after a minute it probes; and there is only one place in the bulkhead.
        tokio::time::sleep(Duration::from_secs(80)).await;
        for _ in 0..5 {
            assert_eq!(outcome(&mut client.clone(), request(READ)).await, Code::Ok);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_stack_refuses_before_the_handler_and_keeps_what_it_answers() {
    let handler = Double::new([Answer::Late(Code::FailedPrecondition)]);
    let mut stack = server(&ServerConfig::default(), &policies()).layer(handler.clone());
    assert_eq!(ending(call(&mut stack, request(READ)).await.unwrap()).await, Code::FailedPrecondition);
    let mut expired = request(READ);
    expired.headers_mut().insert("grpc-timeout", "0n".parse().unwrap());
    let refused = call(&mut stack, expired).await.unwrap();
    let status = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!((to_fault(&status).reason, handler.calls()), (Reason::DeadlineExceeded, 1));
}
