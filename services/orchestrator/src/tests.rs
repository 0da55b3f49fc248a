//! Replicas of the whole service on one Postgres: whoever is asked, and whoever disappears, every order comes to its end.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use spillway_contracts::orchestrator::v1::{
    CancelOrderRequest, GetSagaRequest, ListSagasRequest, LookupOrderRequest, OrderOutcome, PlaceOrderRequest,
    PlaceOrderResponse, SagaState, checkout_service_server::CheckoutService, saga_service_server::SagaService,
};
use spillway_middleware::status::to_fault;
use spillway_testkit::{
    proxy::{self, Proxy},
    servers,
};
use spillway_types::{Fault, Reason, RequestId};
use tokio::time::{Instant, timeout};
use tonic::Request;

use self::shop::{Participants, Replica, until, wish};

mod shop;

/// What the design promises, from a replica's last breath until its orders are another one's.
const TAKEOVER: Duration = Duration::from_secs(3);

async fn place(replica: &Replica, wish: &PlaceOrderRequest) -> Result<PlaceOrderResponse, Fault> {
    let answer = replica.api.place_order(Request::new(wish.clone())).await;
    answer.map(tonic::Response::into_inner).map_err(|status| to_fault(&status))
}

/// Leaves an order under way, with nobody waiting for it, and says its id.
async fn begin(replica: &Replica, wish: &PlaceOrderRequest) -> String {
    let api = replica.api.clone();
    let begun = wish.clone();
    tokio::spawn(async move { api.place_order(Request::new(begun)).await });
    let lookup = LookupOrderRequest { buyer_id: wish.buyer_id.clone(), request_id: wish.request_id.clone() };
    let started = async {
        loop {
            if let Ok(found) = replica.api.lookup_order(Request::new(lookup.clone())).await {
                return found.into_inner().answer.unwrap().order_id;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(30), started).await.expect("an order is started")
}

async fn state(replica: &Replica, saga_id: &str) -> SagaState {
    let request = GetSagaRequest { saga_id: saga_id.to_owned() };
    replica.api.get_saga(Request::new(request)).await.unwrap().into_inner().saga.unwrap().state()
}

async fn ended(replica: &Replica, ids: &[String], expected: SagaState) {
    let before = Instant::now();
    for id in ids {
        while state(replica, id).await != expected {
            assert!(before.elapsed() < Duration::from_secs(30), "{id} is {:?}", state(replica, id).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Two replicas on one database, both with their share of the partitions.
async fn pair(participants: &Participants) -> (Replica, Replica) {
    let url = servers::postgres().await.fresh("orchestrator").await;
    let first = Replica::start(&url, participants).await;
    first.ready().await;
    let second = Replica::start(&url, participants).await;
    second.ready().await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_a_crashed_replica_go_on_within_three_seconds() {
    let participants = Participants::default();
    let (first, second) = pair(&participants).await;
    // Captured, and not dispatched: whoever comes next has to go forward.
    participants.mute("DispatchShipments");
    let ids = join_all((0..100).map(|_| async { begin(&first, &wish()).await })).await;
    for id in &ids {
        until("it is confirmed", || participants.called("ConfirmReservation", id).is_some()).await;
    }
    let crash = Instant::now();
    first.workers.crash().await;
    participants.unmute();
    ended(&second, &ids, SagaState::Completed).await;
    let dispatched: Vec<_> = ids.iter().filter_map(|id| participants.called("DispatchShipments", id)).collect();
    assert_eq!(dispatched.len(), ids.len());
    let takeover = dispatched.iter().max().unwrap().saturating_duration_since(crash);
    println!("100 orders went on within {takeover:?} of their replica's crash");
    assert!(takeover < TAKEOVER, "{takeover:?}");
    second.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_replica_answers_for_any_order() {
    let participants = Participants::default();
    let (first, second) = pair(&participants).await;
    let wished = wish();
    let placed = place(&first, &wished).await.unwrap();
    assert_eq!(placed.outcome(), OrderOutcome::Paid);
    ended(&first, std::slice::from_ref(&placed.order_id), SagaState::Completed).await;
    assert_eq!(place(&second, &wished).await.unwrap(), placed, "a repeat elsewhere is the same order");
    let lookup = LookupOrderRequest { buyer_id: wished.buyer_id.clone(), request_id: wished.request_id.clone() };
    let found = second.api.lookup_order(Request::new(lookup)).await.unwrap().into_inner().answer.unwrap();
    assert_eq!(found, placed);
    let listed = second.api.list_sagas(Request::new(ListSagasRequest::default())).await.unwrap().into_inner();
    assert!(listed.sagas.iter().any(|saga| saga.saga_id == placed.order_id));

    // A repeat that comes while the order is under way elsewhere waits for it.
    participants.mute("Capture");
    let wished = wish();
    let id = begin(&first, &wished).await;
    let repeat = place(&second, &wished);
    let unmuting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        participants.unmute();
    };
    let (repeat, ()) = tokio::join!(repeat, unmuting);
    assert_eq!(repeat.unwrap(), PlaceOrderResponse { order_id: id, ..placed });
    first.workers.stop().await;
    second.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_reaches_the_owner_through_any_replica() {
    let participants = Participants::default();
    let (first, second) = pair(&participants).await;
    participants.mute("Capture");
    let id = begin(&first, &wish()).await;
    until("it is authorised", || participants.called("Authorize", &id).is_some()).await;
    let cancel = |id: &str| CancelOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: id.to_owned(),
        reason: "thought better of it".to_owned(),
        ..Default::default()
    };
    let before = Instant::now();
    second.api.cancel_order(Request::new(cancel(&id))).await.expect("it is cancelled");
    println!("cancelled through another replica within {:?}", before.elapsed());
    assert_eq!(state(&first, &id).await, SagaState::Compensated);
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    participants.unmute();

    participants.mute("DispatchShipments");
    let placed = place(&first, &wish()).await.unwrap();
    let before = Instant::now();
    let refused = second.api.cancel_order(Request::new(cancel(&placed.order_id))).await.unwrap_err();
    assert_eq!(to_fault(&refused).reason, Reason::NotCancellable);
    assert!(before.elapsed() < Duration::from_secs(2), "it hears so before the order is dispatched");
    participants.unmute();
    ended(&second, &[placed.order_id], SagaState::Completed).await;
    first.workers.stop().await;
    second.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_race_for_one_key_place_one_order() {
    let participants = Participants::default();
    let (first, second) = pair(&participants).await;
    for _ in 0..20 {
        let wished = wish();
        let calls = (0..8).map(|n| place(if n % 2 == 0 { &first } else { &second }, &wished));
        let placed: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert!(placed.iter().all(|answer| answer.order_id == placed[0].order_id), "{placed:?}");
        assert!(placed.iter().all(|answer| answer.outcome() == OrderOutcome::Paid), "{placed:?}");
    }
    first.workers.stop().await;
    second.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_says_goodbye_leaves_nothing_behind() {
    let participants = Participants::default();
    let (first, second) = pair(&participants).await;
    participants.mute("DispatchShipments");
    let ids = join_all((0..20).map(|_| async { begin(&first, &wish()).await })).await;
    for id in &ids {
        until("it is confirmed", || participants.called("ConfirmReservation", id).is_some()).await;
    }
    first.workers.stop().await;
    let goodbye = Instant::now();
    participants.unmute();
    ended(&second, &ids, SagaState::Completed).await;
    println!("20 orders were taken over and finished {:?} after their replica had left", goodbye.elapsed());
    assert!(goodbye.elapsed() < Duration::from_secs(2), "{:?}", goodbye.elapsed());
    second.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_stops_and_says_so_and_its_orders_go_on() {
    let participants = Participants::default();
    let url = servers::postgres().await.fresh("orchestrator").await;
    let (host, database) = url.rsplit_once('/').unwrap();
    let (user, target) = host.rsplit_once('@').unwrap();
    let target: SocketAddr = target.replace("localhost", "127.0.0.1").parse().unwrap();
    let proxy = Proxy::to(target).await.unwrap();
    let cut_off = Replica::start(&format!("{user}@{}/{database}", proxy.address()), &participants).await;
    cut_off.ready().await;
    let other = Replica::start(&url, &participants).await;
    other.ready().await;
    participants.mute("DispatchShipments");
    let ids = join_all((0..20).map(|_| async { begin(&cut_off, &wish()).await })).await;
    for id in &ids {
        until("it is confirmed", || participants.called("ConfirmReservation", id).is_some()).await;
    }
    let cut = Instant::now();
    proxy.set_both(proxy::Fault::Hole);
    until("it stops", || !cut_off.is_ready()).await;
    println!("stopped {:?} after it was cut off", cut.elapsed());
    assert!(cut.elapsed() < Duration::from_millis(1_500), "{:?}", cut.elapsed());
    let refused = place(&cut_off, &wish()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Draining, "another replica may place it: {refused:?}");
    participants.unmute();
    ended(&other, &ids, SagaState::Completed).await;
    println!("its orders were finished {:?} after it was cut off", cut.elapsed());
    assert!(cut.elapsed() < TAKEOVER + Duration::from_millis(500), "{:?}", cut.elapsed());
    proxy.heal();
    cut_off.ready().await;
    assert_eq!(place(&cut_off, &wish()).await.unwrap().outcome(), OrderOutcome::Paid);
    cut_off.workers.stop().await;
    other.workers.stop().await;
}
