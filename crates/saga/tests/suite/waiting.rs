//! Sagas that wait for somebody else, out of memory.

use std::time::Duration;

use spillway_saga::{Fate, Record, Status, log::CallKind, memory_log::Moment};
use spillway_types::Reason;
use tokio::time::{Instant, sleep};

use crate::{
    harness::{Finished, Harness, ID, asked, in_paused_time, order},
    model::{Quirk, Work, receipt},
};

const QUARTER_OF_AN_HOUR: Duration = Duration::from_secs(600);
const AUTHORISE: usize = 2;

fn deferred() -> Harness {
    let harness = Harness::new();
    harness.world.defer_payment(QUARTER_OF_AN_HOUR);
    harness
}

fn unpaid(finished: &Finished) {
    let cause = finished.row.cause.as_ref().unwrap();
    assert_eq!((finished.row.status, cause.reason), (Status::Compensated, Reason::Expired));
}

#[test]
fn an_order_waits_for_its_buyer_out_of_memory_and_says_what_to_pay() {
    in_paused_time(async {
        let mut harness = deferred();
        let mut handle = harness.place().await;
        let answer = handle.answer().await;
        assert_eq!((answer.status, answer.fate), (Status::Waiting, Fate::Open));
        assert_eq!(answer.output::<_, Work<AUTHORISE>>(), Some(receipt(AUTHORISE)));
        handle.left().await;
        assert_eq!(harness.engine.active(), 0);
        assert_eq!(harness.world.calls(AUTHORISE, CallKind::Run), 2, "it is read once more when waiting is durable");

        let mut repeat = harness.engine.start(order(ID)).await.unwrap();
        let answer = repeat.handle.answer().await;
        assert!(repeat.is_repeat && answer.status == Status::Waiting);
        assert_eq!(answer.output::<_, Work<AUTHORISE>>(), Some(receipt(AUTHORISE)));
    });
}

#[test]
fn a_buyer_who_does_not_pay_in_time_loses_the_hold() {
    let started = in_paused_time(async {
        let started = Instant::now();
        unpaid(&deferred().run().await);
        started.elapsed()
    });
    assert!(started >= QUARTER_OF_AN_HOUR);
}

#[test]
fn a_payment_and_its_signal_finish_the_order() {
    in_paused_time(async {
        let mut harness = deferred();
        let mut handle = harness.place().await;
        handle.left().await;
        harness.world.pay(ID);
        let mut handle = harness.engine.signal(ID).await.unwrap();
        assert_eq!(handle.left().await.status, Status::Completed);
        assert_eq!(harness.run().await.row.status, Status::Completed);
    });
}

#[test]
fn a_payment_whose_signal_came_before_the_wait_was_durable_is_found() {
    in_paused_time(async {
        let mut harness = deferred();
        let mut handle = harness.place().await;
        while harness.world.calls(AUTHORISE, CallKind::Run) == 0 {
            handle.changed().await.unwrap();
        }
        harness.world.pay(ID);
        assert_eq!(handle.left().await.status, Status::Completed);
        let resumed = harness.log.records(ID).iter().any(|record| matches!(record, Record::Resumed { .. }));
        assert!(resumed, "the log knows that it does not wait any more");
    });
}

#[test]
fn a_payment_in_the_moment_of_the_timer_goes_on_to_capture() {
    let finished = in_paused_time(async {
        let harness = deferred();
        harness.world.pay_as_the_timer_comes();
        harness.run().await
    });
    assert_eq!(finished.row.status, Status::Completed);
}

#[test]
fn a_cancellation_reaches_a_saga_that_waits() {
    in_paused_time(async {
        let mut harness = deferred();
        let mut handle = harness.place().await;
        handle.left().await;
        let mut handle = harness.engine.turn_back(ID, asked()).await.unwrap();
        let settled = handle.settled().await;
        assert_eq!((settled.fate, settled.cause.as_ref()), (Fate::Back, Some(&asked())));
        assert_eq!(harness.run().await.row.status, Status::Compensated);
    });
}

#[test]
fn a_cancellation_that_comes_while_a_saga_leaves_memory_is_not_lost() {
    for after in (0..400).step_by(5).map(Duration::from_millis) {
        let finished = in_paused_time(async {
            let harness = deferred();
            harness.log.slow_down(Duration::from_millis(100));
            harness.run_and_cancel(Some(after)).await
        });
        assert_eq!((finished.row.status, finished.row.cause), (Status::Compensated, Some(asked())), "{after:?}");
    }
}

#[test]
fn timers_and_payments_survive_a_restart() {
    for is_paid in [false, true] {
        in_paused_time(async {
            let mut harness = deferred();
            let mut handle = harness.place().await;
            handle.left().await;
            harness.restart().await;
            if is_paid {
                harness.world.pay(ID);
            }
            sleep(QUARTER_OF_AN_HOUR / 2).await;
            assert_eq!(harness.log.row(ID).unwrap().status, Status::Waiting, "a restart does not wake it");
            let finished = harness.run().await;
            if is_paid {
                assert_eq!(finished.row.status, Status::Completed);
            } else {
                unpaid(&finished);
            }
        });
    }
}

#[test]
fn a_crash_at_any_write_of_a_saga_that_waits_changes_nothing() {
    let writes = in_paused_time(async { deferred().run().await }).log.writes();
    for n in 0..writes {
        for moment in [Moment::Before, Moment::After] {
            let finished = in_paused_time(async {
                let harness = deferred();
                harness.log.crash_at(n, moment);
                harness.run().await
            });
            let reason = finished.row.cause.unwrap().reason;
            assert_eq!(finished.row.status, Status::Compensated);
            // Voided and not yet recorded, it finds its own tombstone when it is driven again.
            assert!(matches!(reason, Reason::Expired | Reason::Cancelled), "{reason}");
        }
    }
}

#[test]
fn an_authorisation_in_doubt_after_the_wait_has_fresh_patience() {
    let finished = in_paused_time(async {
        let mut harness = deferred();
        let mut handle = harness.place().await;
        handle.left().await;
        harness.world.pay(ID);
        harness.world.arrange(AUTHORISE, CallKind::Run, Quirk::Down(Duration::from_secs(3)));
        harness.engine.signal(ID).await.unwrap();
        harness.run().await
    });
    assert_eq!(finished.row.status, Status::Completed);
}
