//! The Redis client: nobody waits for a server that is not there, and loss of data is noticed.

use std::time::Duration;

use spillway_storage::redis::{History, RedisDown, RedisError, Script, cmd};
use spillway_testkit::{
    proxy::Proxy,
    servers::{self, RedisServer},
};
use tokio::time::Instant;

use crate::common::{redis, until};

#[tokio::test]
async fn a_script_runs_on_a_server_that_has_never_seen_it() {
    let redis = redis(&servers::redis().await);
    redis.up().await;
    // Another text each time, so that its hash is new to the server.
    let script = Script::new(&format!("return {{KEYS[1], ARGV[1] + 1}} -- {}", rand::random::<u64>()));
    for _ in 0..2 {
        let answer: (String, i64) = redis.script("testing", script.key("k").arg(41)).await.unwrap();
        assert_eq!(answer, ("k".to_owned(), 42));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_server_that_is_down_and_it_is_used_again_soon_after_it_is_back() {
    let server = RedisServer::private().await;
    let redis = redis(server.url());
    redis.up().await;
    assert_eq!(redis.changes(), 1);
    server.kill().await;
    until("it is noticed", async || redis.query::<()>("testing", &cmd("PING")).await.is_err() && !redis.is_up()).await;
    let start = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(redis.connection(), Err(RedisDown)));
        let asked = redis.query::<()>("testing", &cmd("PING")).await;
        assert!(matches!(asked, Err(RedisError::Down(_))), "{asked:?}");
        assert!(redis.check().is_err());
    }
    assert!(start.elapsed() < Duration::from_millis(500), "1,000 refusals took {:?}", start.elapsed());
    server.restart().await;
    tokio::time::timeout(Duration::from_secs(5), redis.up()).await.expect("it is back");
    redis.query::<()>("testing", &cmd("PING")).await.unwrap();
    assert_eq!(redis.changes(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_counts_as_down_after_a_moment() {
    let server = RedisServer::private().await;
    let redis = redis(server.url());
    redis.up().await;
    server.freeze().await;
    let start = Instant::now();
    until("it counts as down", async || !redis.is_up()).await;
    assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    server.thaw().await;
    tokio::time::timeout(Duration::from_secs(10), redis.up()).await.expect("it is back");
}

async fn history(redis: &spillway_storage::redis::Redis) -> History {
    loop {
        match redis.history().await {
            Ok(history) => return history,
            Err(_) => redis.up().await,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_a_restart_and_a_promotion_are_other_histories() {
    let (server, follower) = (RedisServer::private().await, RedisServer::private().await);
    let client = redis(server.url());
    let first = history(&client).await;
    assert_eq!(history(&client).await, first, "nothing happened");
    assert_eq!(history(&redis(server.url())).await, first, "nobody else sees another one");

    server.flushall().await;
    let flushed = history(&client).await;
    assert_ne!(flushed, first);

    // A server may begin a new line of replication when it gets its first replica; that is another history too.
    follower.replica_of(server.address()).await;
    let followed = history(&client).await;
    follower.promote().await;
    assert_ne!(history(&redis(follower.url())).await, followed);

    server.kill().await;
    server.restart().await;
    until("it is back", async || client.history().await.is_ok()).await;
    assert_ne!(history(&client).await, followed);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_master_that_became_a_replica_are_replaced() {
    let (old, new) = (RedisServer::private().await, RedisServer::private().await);
    let proxy = Proxy::to(old.address()).await.unwrap();
    let client = redis(&format!("redis://{}", proxy.address()));
    client.up().await;
    let write = async || client.query::<()>("testing", cmd("SET").arg("k").arg(1)).await;
    write().await.unwrap();
    // The address leads to the new master from now on; the connections there are stay open.
    old.replica_of(new.address()).await;
    proxy.retarget(new.address());
    let refused = write().await;
    assert!(refused.is_err(), "a replica took a write");
    until("writes go to the new master", async || write().await.is_ok()).await;
}
