use spillway_storage::config::RedisConfig;
use spillway_testkit::servers::{self, RedisServer};
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    domain::{
        Contents, State,
        tests::{NOON, create, fresh_id},
    },
    store::tests::house::{Backend, House},
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);

async fn redis(url: &str) -> Redis {
    let redis = RedisConfig { url: url.to_owned(), password_file: "".into(), connections: 2, timeout_ms: 500 };
    let redis = Redis::new(&redis).unwrap();
    redis.up().await;
    redis
}

fn order(order_id: OrderId, version: i64) -> Order {
    let create = create(order_id, 2);
    let contents = Contents { fingerprint: create.fingerprint, price: create.price, address: create.address };
    Order {
        order_id,
        tenant_id: create.tenant_id,
        buyer_id: Some(create.buyer_id),
        contents: Some(contents),
        state: State::Paid,
        version,
        cancel_reason: String::new(),
        created_at: NOON,
        updated_at: NOON,
    }
}

async fn until_cached(cache: &Cache, order_id: OrderId, version: i64) -> Order {
    let begun = Instant::now();
    loop {
        match cache.get(order_id).await {
            Ok(Some(order)) if order.version >= version => return order,
            other => assert!(begun.elapsed() < LONG, "version {version} is not cached: {other:?}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_later_version_replaces_an_earlier_one_and_never_the_other_way_round() {
    let redis = redis(&servers::redis().await).await;
    let (cache, _, _) = open(redis.clone());
    let (id, script) = (fresh_id(), Script::new(PUT));
    assert_eq!(cache.get(id).await.unwrap(), None);
    for (written, stands) in [(2, 2), (1, 2), (0, 2), (10, 10), (9, 10)] {
        assert!(write(&redis, &script, order(id, written)).await);
        assert_eq!(cache.get(id).await.unwrap(), Some(order(id, stands)), "after {written}");
    }
    let mut left = cmd("PTTL");
    left.arg(key(id));
    let left: u64 = redis.query("asking how long", &left).await.unwrap();
    assert!((1..=30_000).contains(&left), "{left} ms");

    let mut garble = cmd("HSET");
    garble.arg(key(id)).arg("order").arg("from another version");
    redis.query::<i64>("garbling", &garble).await.unwrap();
    assert_eq!(cache.get(id).await.unwrap(), None, "what cannot be read is not there");
}

#[tokio::test]
async fn what_commits_is_cached_and_commits_do_not_wait_for_a_cache_that_hangs() {
    let server = RedisServer::private().await;
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let house = House::new(backend).await.with_redis(server.url()).await;
        let shop = house.open().await;
        let (cache, _, _) = open(redis(server.url()).await);
        let id = fresh_id();
        let created = shop.ask(crate::domain::Command::Create(create(id, 2))).await.unwrap();
        assert_eq!(until_cached(&cache, id, 1).await, created);

        server.freeze().await;
        let begun = Instant::now();
        let during: Vec<_> = (0..50).map(|_| fresh_id()).collect();
        for id in &during {
            shop.ask(crate::domain::Command::Create(create(*id, 1))).await.unwrap();
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "50 commits took {took:?}");
        // Some are lost, and that is all.
        let feed = shop.feed.as_ref().unwrap();
        while feed.dropped() == 0 {
            assert!(begun.elapsed() < LONG, "nothing was given up");
            sleep(Duration::from_millis(5)).await;
        }
        server.thaw().await;

        house.redis().up().await;
        let after = fresh_id();
        shop.ask(crate::domain::Command::Create(create(after, 1))).await.unwrap();
        until_cached(&cache, after, 1).await;
    }
}
