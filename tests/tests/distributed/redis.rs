//! Redis emptied, and replaced by a replica that has not heard everything. The platform is slower then, and right.

use spillway_testkit::{
    proxy::{Direction, Fault, Proxy},
    servers::RedisServer,
};
use spillway_tests::{cluster::Plan, crowd::HOT};
use tokio::time::Instant;

use crate::sale::{STROLL, Sale};

/// How often Redis forgets everything.
const FLUSHES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_costs_nothing_but_time() {
    let mut sale = Sale::open(Plan::default().proxied(), STROLL).await;
    for flush in 1..=FLUSHES {
        sale.go_on().await;
        sale.cluster.redis.flushall().await;
        let began = Instant::now();
        sale.cluster.gate_counts(HOT).await;
        println!("flush {flush}: the gate counts again after {:?}", began.elapsed());
    }
    let replica = RedisServer::private().await;
    let link = Proxy::to(sale.cluster.redis.address()).await.unwrap();
    replica.replica_of(link.address()).await;
    sale.go_on().await;
    link.set(Direction::Down, Fault::Hole);
    sale.go_on().await;
    assert!(link.injected().held > 0, "nothing was kept from the replica");
    replica.promote().await;
    sale.cluster.redis.kill().await;
    for process in sale.cluster.replicas() {
        process.network().redis.retarget(replica.address());
        process.network().redis.sever();
    }
    // From here on the promoted one is the platform's.
    sale.cluster.redis = replica;
    sale.go_on().await;
    sale.finish().await;
}
