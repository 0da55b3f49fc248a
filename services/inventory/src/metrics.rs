//! What the service shows of itself beside its store: the gate.
//!
//! | instrument | unit | what it is |
//! |---|---|---|
//! | `spillway.gate.asked` | {reserve} | first attempts at a Reserve |
//! | `spillway.gate.refused` | {reserve} | of these, refused without asking the ledger |
//! | `spillway.gate.failed_open` | {reserve} | of these, let through because the counters did not answer in time |
//! | `spillway.gate.open` | | 1 while the counters are known not to answer, else 0 |

use std::sync::Arc;

use opentelemetry::global;

use crate::store::gate::{Gate, Totals};

/// One of the totals.
type Pick = fn(Totals) -> u64;

/// Shows the gate to scrapers.
pub(crate) fn watch(gate: &Arc<Gate>) {
    let meter = global::meter("spillway");
    let counters: [(&str, &str, Pick); 3] = [
        ("spillway.gate.asked", "First attempts at a Reserve.", |totals| totals.asked),
        ("spillway.gate.refused", "Of these, refused without asking the ledger.", |totals| totals.refused),
        ("spillway.gate.failed_open", "Of these, let through: the counters did not answer in time.", |totals| {
            totals.failed_open
        }),
    ];
    for (name, description, pick) in counters {
        let gate = Arc::clone(gate);
        let _kept_by_the_meter = meter
            .u64_observable_counter(name)
            .with_unit("{reserve}")
            .with_description(description)
            .with_callback(move |counter| counter.observe(pick(gate.totals()), &[]))
            .build();
    }
    let gate = Arc::clone(gate);
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.gate.open")
        .with_description("1 while the gate's counters are known not to answer, else 0.")
        .with_callback(move |gauge| gauge.observe(gate.check().is_err().into(), &[]))
        .build();
}
