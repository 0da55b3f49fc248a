//! Two replicas on one Postgres, with Redis beside it.

use std::collections::BTreeMap;

use spillway_storage::{DataConfig, bus::RedisBus, config::RedisConfig, redis::Redis};
use spillway_testkit::servers::{self, Postgres, RedisServer};
use tokio::time::Instant;

use super::*;

fn redis(url: &str) -> Redis {
    let defaults = DataConfig::in_directory("").redis;
    Redis::new(&RedisConfig { url: url.to_owned(), ..defaults }).unwrap()
}

async fn end(replica: Replica) {
    replica.shutdown.cancel();
    tokio::time::timeout(LONG, replica.serving).await.unwrap().unwrap();
}

/// Calls until it is answered, as a client with a retry policy does.
async fn until_answered<T, F: Future<Output = Result<tonic::Response<T>, tonic::Status>>>(call: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer.into_inner(),
            Err(status) => assert!(begun.elapsed() < LONG, "still {status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_watcher_on_one_replica_hears_of_moves_on_another_and_outlasts_a_restart_of_the_database() {
    use OrderState::{AwaitingPayment, Paid, Pending};
    let (server, directory) = (Postgres::private().await, tempfile::tempdir().unwrap());
    let (url, shared) = (server.fresh("order").await, servers::redis().await);
    let resources = || Resources { redis: Some(redis(&shared)), ..Resources::in_directory(directory.path()) };
    let (here, there) = (start_on(&url, &resources()).await, start_on(&url, &resources()).await);
    let mut next_door = there.client.clone();
    let id = OrderId::mint(SystemClock.now(), &"ada".parse().unwrap(), Partition(1));
    let watch = WatchOrderRequest { order_id: id.to_string(), after_version: 0 };
    let mut watching = next_door.watch_order(watch).await.unwrap().into_inner();
    let mut hear = async || {
        let begun = Instant::now();
        let heard = tokio::time::timeout(LONG, watching.message()).await.unwrap().unwrap().unwrap();
        (heard.event.unwrap().to_state(), begun.elapsed())
    };

    let mut client = here.client.clone();
    client.create_order(create(id)).await.unwrap();
    client.advance_order(advance(id, AwaitingPayment)).await.unwrap();
    let (first, second) = (hear().await, hear().await);
    println!("heard {first:?}, then {second:?}");
    assert_eq!((first.0, second.0), (Pending, AwaitingPayment));

    let get = || {
        let mut next_door = next_door.clone();
        async move { next_door.get_order(GetOrderRequest { order_id: id.to_string() }).await }
    };
    assert!(!get().await.unwrap().into_inner().stale);
    server.kill().await;
    // It moved on one replica, and is known to both.
    let during = until_answered(get).await;
    assert!(during.stale && during.order.unwrap().state() == AwaitingPayment);
    let pay = advance(id, Paid);
    client.advance_order(pay.clone()).await.unwrap_err();
    server.restart().await;

    let back = Instant::now();
    until_answered(|| {
        let (mut client, pay) = (here.client.clone(), pay.clone());
        async move { client.advance_order(pay).await }
    })
    .await;
    println!("moved again {:?} after the server was back", back.elapsed());
    let (state, delay) = hear().await;
    println!("heard {delay:?} later");
    assert_eq!(state, Paid, "on the stream that was there before");
    while until_answered(get).await.stale {
        assert!(back.elapsed() < LONG, "still stale");
    }
    for replica in [here, there] {
        end(replica).await;
    }
}

#[tokio::test]
async fn shipments_move_orders_over_redis_however_often_and_in_whichever_turn_news_arrive() {
    use OrderState::{Delivered, Paid};
    let (server, directory) = (RedisServer::private().await, tempfile::tempdir().unwrap());
    let url = servers::postgres().await.fresh("order").await;
    let replica = async || {
        let redis = redis(server.url());
        redis.up().await;
        let bus = Arc::new(RedisBus::new(redis.clone()));
        let resources = Resources { redis: Some(redis), ..Resources::in_directory(directory.path()) };
        (start_on(&url, &resources.with_bus(Arc::<RedisBus>::clone(&bus))).await, bus)
    };
    let ((here, bus_here), (there, bus_there)) = (replica().await, replica().await);
    let mut client = here.client.clone();
    let mut news_of = BTreeMap::new();
    for _ in 0..20 {
        let id = OrderId::mint(SystemClock.now(), &"ada".parse().unwrap(), Partition(1));
        client.create_order(create(id)).await.unwrap();
        client.advance_order(advance(id, Paid)).await.unwrap();
        let states = ["PLANNED", "DISPATCHED", "HANDED_OVER", "DELIVERED"];
        let lane: Vec<_> = (1..).zip(states).map(|(sequence, state)| news(id, sequence, state)).collect();
        news_of.insert(id, lane);
    }

    // First the odd ones of every order and then the even ones, all of them twice.
    let publisher = redis(server.url());
    publisher.up().await;
    let publisher = RedisBus::new(publisher);
    for turn in [[0, 2], [1, 3], [2, 0], [3, 1]] {
        let events: Vec<_> = news_of.values().flat_map(|lane| turn.map(|index| lane[index].clone())).collect();
        publisher.publish(&events).await.unwrap();
        if turn == [1, 3] {
            bus_here.close().await;
        }
    }

    let mut client = there.client.clone();
    let begun = Instant::now();
    for id in news_of.keys() {
        let get = GetOrderRequest { order_id: id.to_string() };
        loop {
            let order = client.get_order(get.clone()).await.unwrap().into_inner().order.unwrap();
            if order.state() == Delivered {
                assert_eq!(order.version, 5, "{id}: a move more than there are");
                break;
            }
            assert!(begun.elapsed() < LONG, "{id} is still {:?}; {:?}", order.state(), bus_there.repairs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    println!("all delivered {:?} after the last news; {:?}", begun.elapsed(), bus_there.repairs());
    for replica in [here, there] {
        end(replica).await;
    }
}
