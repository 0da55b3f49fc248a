//! A deployment: every process is asked to end and started again, one after the other.

use std::time::Duration;

use spillway_tests::cluster::Plan;
use tokio::time::Instant;

use crate::sale::{STROLL, Sale};

/// How long a process may take to drain.
const END_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_fails_no_call_of_a_client_that_retries() {
    let mut sale = Sale::open(Plan::default(), STROLL).await;
    for (service, number) in sale.everybody() {
        sale.go_on().await;
        let (began, before) = (Instant::now(), sale.crowd.failures());
        let ended = sale.cluster.replica(service, number).terminate(END_MAX).await;
        assert!(ended.success(), "{service:?} {number} ended with {ended}");
        let drained = began.elapsed();
        sale.go_on().await;
        sale.cluster.replica(service, number).start().await;
        println!("{service:?} {number} drained within {drained:?}; {} calls failed", sale.crowd.failures() - before);
    }
    let tally = sale.finish().await;
    assert!(tally.failed.is_empty(), "calls failed: {:?}", tally.failed);
}
