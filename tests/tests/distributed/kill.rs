//! Everything is killed once: each process, Postgres, Redis.

use std::time::Duration;

use spillway_tests::cluster::{Plan, Service};

use crate::sale::{STROLL, Sale};

/// How often Postgres is killed: each time finds other commits under way, whose outcome is then read again by key.
const POSTGRES_KILLS: usize = 3;
/// Writes are back within this time once the database is.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn any_process_may_be_killed_and_the_sale_goes_on() {
    let mut sale = Sale::open(Plan::default(), STROLL).await;
    for (service, number) in sale.everybody() {
        sale.go_on().await;
        if service == Service::Orchestrator {
            sale.settle().await;
            let takeover = sale.takeover(number, async |replica| replica.kill().await).await;
            println!("{service:?} {number} killed: taken over after {takeover:?}");
        } else {
            sale.cluster.replica(service, number).kill().await;
        }
        println!("{service:?} {number} killed: an answer after {:?}", sale.next_answer().await);
        sale.go_on().await;
        sale.cluster.replica(service, number).start().await;
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_and_redis_may_be_killed_and_nothing_is_lost() {
    let mut sale = Sale::open(Plan::default(), STROLL).await;
    for kill in 1..=POSTGRES_KILLS {
        sale.go_on().await;
        sale.crowd.restock().await;
        sale.cluster.postgres.kill().await;
        sale.cluster.postgres.restart().await;
        let recovery = sale.next_paid().await;
        println!("Postgres, kill {kill}: the first order paid {recovery:?} after the restart");
        assert!(recovery < RECOVERY_MAX, "{recovery:?}");
    }
    sale.go_on().await;
    sale.cluster.redis.kill().await;
    println!("Redis killed: the next answer after {:?}", sale.next_answer().await);
    sale.go_on().await;
    sale.cluster.redis.restart().await;
    sale.finish().await;
}
