//! A network that delays, drips, swallows and cuts.

use std::time::Duration;

use rand::Rng;
use spillway_testkit::proxy::{Direction, Fault};
use spillway_tests::cluster::Plan;

use crate::sale::{STROLL, Sale};

/// How many faults there are in a sale, one after the other.
const FAULTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_network_does_every_buyer_hears_the_truth() {
    let mut sale = Sale::open(Plan::default().proxied(), STROLL).await;
    for _ in 0..FAULTS {
        let everybody = sale.everybody();
        let (service, number) = everybody[0];
        let direction = if sale.rng.random() { Direction::Up } else { Direction::Down };
        let fault = match sale.rng.random_range(0..5) {
            0 | 1 => Fault::Hole,
            2 => Fault::Cut,
            3 => Fault::Drip { bytes: 40, every: Duration::from_millis(5) },
            _ => Fault::Delay(Duration::from_millis(sale.rng.random_range(10..1_500))),
        };
        let (way, lasts) = (sale.rng.random_range(0..3), Duration::from_millis(sale.rng.random_range(100..1_500)));
        sale.crowd.restock().await;
        println!("{service:?} {number}, way {way}, {direction:?}: {fault:?} for {lasts:?}");
        let network = sale.cluster.replica(service, number).network();
        let proxy = [&network.callers, &network.postgres, &network.redis][way];
        proxy.set(direction, fault);
        tokio::time::sleep(lasts).await;
        proxy.heal();
    }
    let injected: u64 = sale.cluster.replicas().iter().map(|process| process.network().injected()).sum();
    println!("{injected} faults have struck");
    assert!(injected > 0, "the proxies did nothing");
    sale.finish().await;
}
