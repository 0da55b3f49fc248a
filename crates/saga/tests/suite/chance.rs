//! Whatever happens to whichever call, in any combination, with processes dying and buyers changing their minds.

use std::time::Duration;

use proptest::prelude::*;
use spillway_saga::{log::CallKind, memory_log::Moment};

use crate::{
    harness::{Harness, in_paused_time},
    model::{NAMES, Quirk},
};

/// Each runs some virtual minutes within a real millisecond. `PROPTEST_CASES` raises it for a nightly run.
const CASES: u32 = 1_000;

fn quirk() -> impl Strategy<Value = Quirk> {
    prop_oneof![
        2 => Just(Quirk::Refuse),
        1 => Just(Quirk::Shrug),
        2 => Just(Quirk::LostBefore),
        3 => Just(Quirk::LostAfter),
        2 => Just(Quirk::Hang),
        2 => (0_u64..60_000).prop_map(|ms| Quirk::Late(Duration::from_millis(ms))),
        1 => Just(Quirk::Twice),
        2 => (0_u64..30_000).prop_map(|ms| Quirk::Down(Duration::from_millis(ms))),
        2 => Just(Quirk::CrashBefore),
        3 => Just(Quirk::CrashAfter),
        1 => Just(Quirk::Permanent),
    ]
}

fn call() -> impl Strategy<Value = CallKind> {
    prop_oneof![2 => Just(CallKind::Run), 1 => Just(CallKind::Compensate)]
}

fn crash() -> impl Strategy<Value = Option<(usize, Moment)>> {
    proptest::option::of((0_usize..12, prop_oneof![Just(Moment::Before), Just(Moment::After)]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(CASES), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_an_order_is_wholly_done_or_wholly_undone(
        arranged in proptest::collection::vec((0..NAMES.len(), call(), quirk()), 0..8),
        crash in crash(),
        cancel in proptest::option::of((0_u64..3_000).prop_map(Duration::from_millis)),
        is_deferred in proptest::bool::weighted(0.2),
        log_latency in (0_u64..20).prop_map(Duration::from_millis),
    ) {
        in_paused_time(async {
            let harness = Harness::new();
            harness.log.slow_down(log_latency);
            for (step, kind, quirk) in arranged {
                harness.world.arrange(step, kind, quirk);
            }
            if let Some((n, moment)) = crash {
                harness.log.crash_at(n, moment);
            }
            if is_deferred {
                harness.world.defer_payment(Duration::from_secs(30));
            }
            harness.run_and_cancel(cancel).await;
        });
    }
}
