//! What the service shows of itself beside its store.
//!
//! | instrument | unit | what it is |
//! |---|---|---|
//! | `spillway.order.followers` | {follower} | WatchOrder streams that are open |
//! | `spillway.order.stale_answers` | {answer} | GetOrder answered from the read cache, marked stale |
//! | `spillway.order.cache_dropped` | {order} | orders that the read cache was not given, or did not take |
//! | `spillway.order.hints` | {move} | moves between replicas: `fate` = `told`, `dropped`, `heard`, or found by `swept` |
//! | `spillway.order.hints_flow` | | 1 while this replica hears the others, else 0 |

use std::sync::Arc;

use opentelemetry::{KeyValue, global, metrics::Meter};

use crate::store::{cache::Feed, hub::Hub, lookup::Lookup, postgres::hints::Teller};

/// Shows them to scrapers. What a mode of the service does not have, it does not show.
pub(crate) fn watch(hub: &Hub, lookup: &Arc<Lookup>, feed: Option<Feed>, hints: Option<Teller>) {
    let meter = global::meter("spillway");
    let hub = hub.clone();
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.order.followers")
        .with_unit("{follower}")
        .with_description("WatchOrder streams that are open.")
        .with_callback(move |gauge| gauge.observe(u64::try_from(hub.totals().1).unwrap_or(u64::MAX), &[]))
        .build();
    if let Some(feed) = feed {
        let lookup = Arc::clone(lookup);
        let stale = move || lookup.stale_answers();
        show(&meter, "spillway.order.stale_answers", "{answer}", "GetOrder answered from the read cache.", stale);
        let dropped = move || feed.dropped();
        show(&meter, "spillway.order.cache_dropped", "{order}", "Orders that the read cache does not have.", dropped);
    }
    if let Some(hints) = hints {
        show_hints(&meter, hints);
    }
}

fn show(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    total: impl Fn() -> u64 + Send + Sync + 'static,
) {
    let _kept_by_the_meter = meter
        .u64_observable_counter(name)
        .with_unit(unit)
        .with_description(description)
        .with_callback(move |counter| counter.observe(total(), &[]))
        .build();
}

fn show_hints(meter: &Meter, hints: Teller) {
    let flow = hints.clone();
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.order.hints_flow")
        .with_description("1 while this replica hears the others, else 0.")
        .with_callback(move |gauge| gauge.observe(flow.is_listening().into(), &[]))
        .build();
    let _kept_by_the_meter = meter
        .u64_observable_counter("spillway.order.hints")
        .with_unit("{move}")
        .with_description("Moves between replicas, by what became of the hint.")
        .with_callback(move |counter| {
            let totals = hints.totals();
            let fates =
                [("told", totals.told), ("dropped", totals.dropped), ("heard", totals.heard), ("swept", totals.swept)];
            for (fate, total) in fates {
                counter.observe(total, &[KeyValue::new("fate", fate)]);
            }
        })
        .build();
}
