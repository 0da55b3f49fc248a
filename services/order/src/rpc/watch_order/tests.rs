use futures_util::future::join_all;
use spillway_contracts::order::v1::{OrderState, order_service_server::OrderService};
use spillway_middleware::status::to_fault;
use tonic::Request;

use super::*;
use crate::{
    domain::{
        Command, Move, Role,
        tests::{NOON, advance, create, fresh_id},
    },
    rpc::{
        submit,
        tests::{SETTINGS, api},
    },
};

async fn watch(api: &Api, order_id: OrderId, after_version: i64) -> BoxStream<WatchOrderResponse> {
    let request = WatchOrderRequest { order_id: order_id.to_string(), after_version };
    api.watch_order(Request::new(request)).await.unwrap().into_inner()
}

/// What a stream says next: a version and state, or a fault; `None` when it has ended.
async fn next(stream: &mut BoxStream<WatchOrderResponse>) -> Option<Result<(i64, OrderState), Fault>> {
    let said = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap()?;
    Some(said.map_err(|status| to_fault(&status)).map(|response| {
        let event = response.event.unwrap();
        assert!(response.order.unwrap().version >= event.version, "the order is never behind its move");
        (event.version, event.to_state())
    }))
}

async fn go(api: &Api, order_id: OrderId, step: Move, role: Role) {
    submit(api, Command::Advance(advance(order_id, step, role))).await.unwrap();
}

#[tokio::test]
async fn a_watcher_hears_every_move_once_and_resumes_by_version() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path(), NOON).await;
    let id = fresh_id();
    let mut early = watch(&api, id, 0).await;
    let follow_all = async {
        let mut heard = Vec::new();
        while let Some(said) = next(&mut early).await {
            heard.push(said.unwrap());
        }
        heard
    };
    let live = async {
        submit(&api, Command::Create(create(id, 1))).await.unwrap();
        for step in [Move::AwaitPayment, Move::Pay, Move::Fulfil] {
            tokio::task::yield_now().await;
            go(&api, id, step, Role::Saga).await;
        }
        let mut late = watch(&api, id, 2).await;
        assert_eq!(next(&mut late).await, Some(Ok((3, OrderState::Paid))));
        assert_eq!(next(&mut late).await, Some(Ok((4, OrderState::Fulfilling))));
        for step in [Move::Ship, Move::Deliver, Move::Complete] {
            go(&api, id, step, Role::Operator).await;
        }
        let ends = join_all([late].map(|late| late.collect::<Vec<_>>())).await;
        assert_eq!(ends[0].len(), 3, "the resumed stream ends with the final state, too");
    };
    let (heard, ()) = tokio::join!(follow_all, live);
    let versions: Vec<_> = heard.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(heard.last(), Some(&(7, OrderState::Completed)));
    assert!(next(&mut watch(&api, id, 7).await).await.is_none(), "there is nothing more to come");
    drop(early);
    assert_eq!(api.hub.totals(), (0, 0), "nobody is left behind");
}

#[tokio::test]
async fn a_watcher_waits_for_a_young_order_and_not_for_an_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let young = api(directory.path(), NOON).await;
    let (id, buried) = (fresh_id(), fresh_id());
    let mut waiting = watch(&young, buried, 0).await;
    assert!(futures_util::poll!(waiting.next()).is_pending());
    go(&young, buried, Move::Cancel, Role::Saga).await;
    assert_eq!(next(&mut waiting).await, Some(Ok((0, OrderState::Cancelled))), "a tombstone ends the wait");
    assert_eq!(next(&mut waiting).await, None);

    let other = tempfile::tempdir().unwrap();
    let later = api(other.path(), NOON.saturating_add(Duration::from_secs(31))).await;
    let fault = next(&mut watch(&later, id, 0).await).await.unwrap().unwrap_err();
    assert_eq!((fault.reason, fault.retry_after), (Reason::NotFound, None));
}

#[tokio::test]
async fn a_slow_watcher_is_closed_and_told_where_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path(), NOON).await;
    let id = fresh_id();
    submit(&api, Command::Create(create(id, 1))).await.unwrap();
    for step in [Move::AwaitPayment, Move::Pay, Move::Fulfil] {
        go(&api, id, step, Role::Saga).await;
    }
    let mut slow = watch(&api, id, 0).await;
    tokio::time::sleep(Duration::from_millis(2 * SETTINGS.slow_reader_ms)).await;
    assert_eq!(next(&mut slow).await, Some(Ok((1, OrderState::Pending))));
    assert_eq!(next(&mut slow).await, Some(Ok((2, OrderState::AwaitingPayment))));
    let fault = next(&mut slow).await.unwrap().unwrap_err();
    assert_eq!((fault.reason, fault.metadata["after_version"].as_str()), (Reason::Shed, "2"));
    assert_eq!(next(&mut slow).await, None);
    assert_eq!(next(&mut watch(&api, id, 2).await).await, Some(Ok((3, OrderState::Paid))));
}

#[tokio::test]
async fn more_watchers_than_allowed_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path(), NOON).await;
    let id = fresh_id();
    let mut streams = Vec::new();
    for _ in 0..SETTINGS.streams_max {
        streams.push(watch(&api, id, 0).await);
    }
    let one_more = WatchOrderRequest { order_id: id.to_string(), after_version: 0 };
    let refused = api.watch_order(Request::new(one_more.clone())).await.map(drop).unwrap_err();
    assert_eq!(to_fault(&refused).reason, Reason::Shed);

    // Their tasks notice that the callers have gone, and make room.
    drop(streams);
    while api.hub.totals() != (0, 0) {
        tokio::task::yield_now().await;
    }
    assert!(api.watch_order(Request::new(one_more)).await.is_ok());
}
