//! A fleet's rate: the fleet keeps to it, and each replica to its share when Redis is away.

use std::time::Duration;

use spillway_storage::redis::lots::{Lots, Rate};
use spillway_testkit::servers::{self, RedisServer};
use tokio::time::Instant;

use crate::common::{fresh_topic, redis, until};

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate { name: fresh_topic().to_owned(), per_second, burst, replicas: 1 }
}

/// How many permits the fleet takes in `time`, each replica asking all the time.
async fn taken(fleet: &[Lots], time: Duration) -> u32 {
    let (end, mut taken) = (Instant::now() + time, 0);
    while Instant::now() < end {
        for lots in fleet {
            taken += u32::from(lots.try_take());
        }
        tokio::task::yield_now().await;
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_asks_all_the_time_gets_its_rate_and_one_burst() {
    let url = servers::redis().await;
    let rate = rate(1_000, 200);
    let mut fleet = Vec::new();
    for _ in 0..3 {
        let redis = redis(&url);
        redis.up().await;
        fleet.push(Lots::new(redis, rate.clone()));
    }
    let start = Instant::now();
    let taken = taken(&fleet, Duration::from_secs(2)).await;
    let (seconds, replicas) = (start.elapsed().as_secs_f64(), fleet[0].replicas());
    let most = 1_000.0 * seconds + 200.0 + 1.0;
    println!("{taken} permits in {seconds:.2} s, {replicas} replicas");
    assert!(f64::from(taken) <= most, "{taken} permits are more than {most:.0}");
    assert!(f64::from(taken) >= 0.7 * 1_000.0 * seconds, "{taken} permits in {seconds:.2} s are too few");
    assert_eq!(replicas, 3);
    assert!(fleet.iter().all(|lots| lots.refused() > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_goes_on_with_its_share_while_redis_is_away() {
    let server = RedisServer::private().await;
    let rate = rate(1_000, 100);
    let clients = [redis(server.url()), redis(server.url())];
    let mut fleet = Vec::new();
    for client in &clients {
        client.up().await;
        fleet.push(Lots::new(client.clone(), rate.clone()));
    }
    until("each knows of the other", async || {
        fleet.iter().for_each(|lots| while lots.try_take() {});
        fleet.iter().all(|lots| lots.replicas() == 2)
    })
    .await;
    server.kill().await;
    until("it is noticed", async || clients.iter().all(|client| !client.is_up())).await;
    let start = Instant::now();
    let alone = taken(&fleet[..1], Duration::from_secs(2)).await;
    let seconds = start.elapsed().as_secs_f64();
    println!("{alone} permits in {seconds:.2} s");
    assert!(f64::from(alone) <= 500.0 * seconds + 50.0 + 100.0, "{alone} permits in {seconds:.2} s are too many");
    assert!(f64::from(alone) >= 0.5 * 500.0 * seconds, "{alone} permits in {seconds:.2} s are too few");
    server.restart().await;
    until("it leases again", async || {
        fleet[0].try_take();
        clients[0].is_up()
    })
    .await;
}
