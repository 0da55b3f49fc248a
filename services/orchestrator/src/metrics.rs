//! What the service shows of itself beside its store: sagas, and the leases that they are driven under.
//!
//! | instrument | unit | what it is |
//! |---|---|---|
//! | `spillway.saga.active` | {saga} | sagas in memory, being driven |
//! | `spillway.lease.held` | {partition} | partitions that this replica holds, of 256 |
//! | `spillway.lease.replicas` | {replica} | replicas that live, as far as this one knows |
//! | `spillway.lease.gained` | {partition} | partitions taken over, each under a new epoch |
//! | `spillway.lease.lost` | {partition} | partitions lost or handed back |
//! | `spillway.lease.refused` | {record} | records that came under a lease which was another replica's by then |

use opentelemetry::{
    global,
    metrics::{Counter, Meter},
};
use spillway_saga::Engine;
use spillway_storage::leases::Standing;
use tokio::sync::watch;

/// Counts partitions as they come and go.
#[derive(Clone, Debug)]
pub(crate) struct Moves {
    pub(crate) gained: Counter<u64>,
    pub(crate) lost: Counter<u64>,
}

/// Shows the sagas to scrapers.
pub(crate) fn show_sagas(engine: &Engine) {
    let engine = engine.clone();
    let _kept_by_the_meter = meter()
        .u64_observable_gauge("spillway.saga.active")
        .with_unit("{saga}")
        .with_description("Sagas in memory, being driven.")
        .with_callback(move |gauge| gauge.observe(wide(engine.active()), &[]))
        .build();
}

/// Shows a replica's leases to scrapers.
pub(crate) fn show_leases(standing: &watch::Receiver<Standing>) {
    type Pick = fn(&Standing) -> usize;
    let gauges: [(&str, &str, &str, Pick); 2] = [
        ("spillway.lease.held", "{partition}", "Partitions that this replica holds.", |standing| standing.held),
        ("spillway.lease.replicas", "{replica}", "Replicas that live, as far as this one knows.", |standing| {
            standing.live
        }),
    ];
    for (name, unit, description, pick) in gauges {
        let standing = standing.clone();
        let _kept_by_the_meter = meter()
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |gauge| gauge.observe(wide(pick(&standing.borrow())), &[]))
            .build();
    }
}

/// Counts records that were refused.
pub(crate) fn refused() -> Counter<u64> {
    meter()
        .u64_counter("spillway.lease.refused")
        .with_unit("{record}")
        .with_description("Records refused, since the lease that they came under was another replica's by then.")
        .build()
}

fn meter() -> Meter {
    global::meter("spillway")
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

// === impl Moves ===

impl Moves {
    pub(crate) fn new() -> Self {
        let counter = |name, description| {
            meter().u64_counter(name).with_unit("{partition}").with_description(description).build()
        };
        Self {
            gained: counter("spillway.lease.gained", "Partitions taken over, each under a new epoch."),
            lost: counter("spillway.lease.lost", "Partitions lost or handed back."),
        }
    }

    pub(crate) fn count(counter: &Counter<u64>, partitions: usize) {
        counter.add(wide(partitions), &[]);
    }
}
