//! Everything that can happen to a step, to every step.

use std::time::Duration;

use spillway_saga::{Kind, Record, Status, log::CallKind, memory_log::Moment};
use spillway_types::Reason;

use crate::{
    harness::{Finished, Harness, ID, in_paused_time},
    model::{LATENCY, NAMES, Quirk, Row, steps},
};

use CallKind::{Compensate, Run};

const PIVOT: usize = 4;
/// Longer than any patience, shorter than what the harness waits at the end.
const LATE: Duration = Duration::from_secs(60);

/// Sagas that every crash is tried on: one that goes well, and ones that turn back early, late, and by refusal of the
/// pivot.
const REFUSALS: [Option<usize>; 5] = [None, Some(0), Some(1), Some(3), Some(PIVOT)];

fn run(arranged: &[(usize, CallKind, Quirk)]) -> Finished {
    in_paused_time(async {
        let harness = Harness::new();
        for (step, kind, quirk) in arranged {
            harness.world.arrange(*step, *kind, *quirk);
        }
        let finished = harness.run().await;
        assert_eq!(finished.world.fired() as usize, arranged.len(), "everything arranged has happened: {arranged:?}");
        finished
    })
}

fn with_refusal(refusal: Option<usize>) -> Harness {
    match refusal {
        Some(step) => Harness::new().arrange(step, Run, Quirk::Refuse),
        None => Harness::new(),
    }
}

fn end_after_refusal(refusal: Option<usize>) -> Status {
    match refusal {
        None => Status::Completed,
        Some(0) => Status::Refused,
        Some(_) => Status::Compensated,
    }
}

fn compensatable() -> impl Iterator<Item = usize> {
    steps().into_iter().filter(|(_, kind)| *kind == Kind::Compensatable).map(|(step, _)| step)
}

#[test]
fn an_order_that_goes_well_takes_two_writes_and_one_call_a_step() {
    let finished = run(&[]);
    assert_eq!((finished.row.status, finished.log.writes()), (Status::Completed, 2));
    for (step, _) in steps() {
        assert_eq!((finished.world.calls(step, Run), finished.world.calls(step, Compensate)), (1, 0));
    }
}

#[test]
fn a_refusal_of_any_step_before_the_pivot_undoes_everything() {
    for (step, kind) in steps().into_iter().filter(|(_, kind)| *kind != Kind::Retriable) {
        let finished = run(&[(step, Run, Quirk::Refuse)]);
        assert_eq!(finished.row.status, end_after_refusal(Some(step)), "{kind} {}", NAMES[step]);
        let cause = finished.row.cause.unwrap();
        assert_eq!(cause.message, format!("{} refused", NAMES[step]));
        let sent = steps().into_iter().filter(|(other, _)| finished.world.calls(*other, Compensate) > 0).count();
        assert_eq!(sent, if step == 0 { 0 } else { compensatable().count() }, "all are compensated, seen or unseen");
    }
}

#[test]
fn a_gates_no_counts_for_a_first_attempt_and_for_no_other() {
    let finished = run(&[(0, Run, Quirk::Shrug)]);
    assert_eq!(finished.row.status, Status::Refused);
    for (step, _) in steps() {
        let finished = run(&[(step, Run, Quirk::LostAfter), (step, Run, Quirk::Shrug)]);
        assert_eq!(finished.row.status, Status::Completed, "{}", NAMES[step]);
    }
}

#[test]
fn a_step_in_doubt_is_asked_again_until_it_is_known() {
    for (step, _) in steps() {
        for quirk in
            [Quirk::LostBefore, Quirk::LostAfter, Quirk::Hang, Quirk::Twice, Quirk::Late(LATENCY), Quirk::Late(LATE)]
        {
            let finished = run(&[(step, Run, quirk)]);
            assert_eq!(finished.row.status, Status::Completed, "{} {quirk:?}", NAMES[step]);
            let second = finished.log.records(ID).iter().any(|record| matches!(record, Record::Attempt(_)));
            assert_eq!(second, quirk != Quirk::Twice, "a second attempt is in the log");
        }
    }
}

#[test]
fn a_compensation_in_doubt_is_asked_again_until_it_is_known() {
    for step in compensatable() {
        for quirk in
            [Quirk::LostBefore, Quirk::LostAfter, Quirk::Hang, Quirk::Twice, Quirk::Late(LATE), Quirk::Down(LATE)]
        {
            for refusal in [1, 3, PIVOT] {
                let finished = run(&[(refusal, Run, Quirk::Refuse), (step, Compensate, quirk)]);
                assert_eq!(finished.row.status, Status::Compensated, "{} {quirk:?}", NAMES[step]);
            }
        }
    }
}

#[test]
fn patience_ends_before_the_pivot_and_lasts_for_ever_after_it() {
    for (step, kind) in steps() {
        let finished = run(&[(step, Run, Quirk::Down(LATE))]);
        if kind == Kind::Retriable {
            assert_eq!(finished.row.status, Status::Completed, "{}", NAMES[step]);
            let parked = finished.log.records(ID).iter().any(|record| matches!(record, Record::Parked { .. }));
            assert!(parked, "a minute without an answer is shown to people");
        } else {
            let cause = finished.row.cause.unwrap();
            assert_eq!((finished.row.status, cause.reason), (Status::Compensated, Reason::Expired), "{}", NAMES[step]);
        }
    }
}

#[test]
fn a_forward_call_that_comes_after_its_compensation_meets_the_tombstone() {
    for step in compensatable().chain([PIVOT]) {
        let finished = run(&[(step, Run, Quirk::Late(LATE)), (step, Run, Quirk::Down(LATE))]);
        assert_eq!(finished.row.status, Status::Compensated, "{}", NAMES[step]);
        let expected = if step == PIVOT { None } else { Some(Row::Tombstone) };
        assert_eq!(finished.world.row(ID, step), expected, "{}", NAMES[step]);
    }
}

#[test]
fn a_capture_that_nobody_heard_of_goes_forward_when_the_arbiter_says_so() {
    for lost in [Quirk::LostAfter, Quirk::Hang] {
        let finished = run(&[(PIVOT, Run, lost), (PIVOT, Run, Quirk::Down(LATE))]);
        assert_eq!(finished.row.status, Status::Completed);
        assert!(finished.world.calls(2, Compensate) >= 1, "the arbiter was asked");
        for step in compensatable().filter(|step| *step != 2) {
            assert_eq!(finished.world.calls(step, Compensate), 0);
        }
    }
}

#[test]
fn a_crash_at_any_write_leaves_a_saga_that_the_next_process_finishes() {
    for refusal in REFUSALS {
        let writes = in_paused_time(async { with_refusal(refusal).run().await }).log.writes();
        for n in 0..writes {
            for moment in [Moment::Before, Moment::After] {
                let finished = in_paused_time(async {
                    let harness = with_refusal(refusal);
                    harness.log.crash_at(n, moment);
                    harness.run().await
                });
                let told = format!("refusal {refusal:?}, write {n}, {moment:?}");
                // A crash after the last write is one of a saga that is at rest.
                assert!(finished.crashes == 1 || n + 1 == writes, "{told}");
                assert_eq!(finished.row.status, end_after_refusal(refusal), "{told}");
            }
        }
    }
}

#[test]
fn a_crash_at_any_call_leaves_a_saga_that_the_next_process_finishes() {
    for (step, kind) in steps() {
        for quirk in [Quirk::CrashBefore, Quirk::CrashAfter] {
            let finished = run(&[(step, Run, quirk)]);
            assert_eq!((finished.row.status, finished.crashes), (Status::Completed, 1), "{} {quirk:?}", NAMES[step]);
            if kind != Kind::Compensatable {
                continue;
            }
            for refusal in [1, 3, PIVOT] {
                let finished = run(&[(refusal, Run, Quirk::Refuse), (step, Compensate, quirk)]);
                assert_eq!((finished.row.status, finished.crashes), (Status::Compensated, 1), "{}", NAMES[step]);
            }
        }
    }
}

#[test]
fn a_crash_after_the_capture_with_a_participant_down_still_goes_forward() {
    for (down, _) in steps() {
        let finished = in_paused_time(async {
            let mut harness = Harness::new().arrange(PIVOT, Run, Quirk::CrashAfter);
            let _handle = harness.place().await;
            harness.world.crashed().await;
            harness.world.arrange(down, Run, Quirk::Down(LATE));
            harness.run().await
        });
        assert_eq!((finished.row.status, finished.crashes), (Status::Completed, 1), "{} was down", NAMES[down]);
    }
}

#[test]
fn a_cancellation_at_any_moment_wins_or_loses_as_a_whole() {
    let mut ends = std::collections::HashMap::new();
    for after in (0..90).step_by(3).map(Duration::from_millis) {
        for quirk in [None, Some((2, Quirk::LostAfter)), Some((PIVOT, Quirk::Hang)), Some((5, Quirk::Down(LATE)))] {
            let finished = in_paused_time(async {
                let harness = Harness::new();
                if let Some((step, quirk)) = quirk {
                    harness.world.arrange(step, Run, quirk);
                }
                harness.run_and_cancel(Some(after)).await
            });
            *ends.entry(finished.row.status).or_insert(0) += 1;
            if let Some(cause) = finished.row.cause {
                assert_eq!(cause.reason, Reason::Cancelled);
            }
        }
    }
    assert!(ends[&Status::Compensated] > 20 && ends[&Status::Completed] > 20, "{ends:?}");
}

#[test]
fn a_step_with_a_bug_is_parked_alone_and_finishes_once_it_is_mended() {
    for (step, kind) in steps() {
        for quirk in [Quirk::Panic, Quirk::Permanent] {
            let finished = run(&[(step, Run, quirk)]);
            assert_eq!(finished.row.status, Status::Completed, "{}", NAMES[step]);
            let parked =
                finished.log.records(ID).iter().filter(|record| matches!(record, Record::Parked { .. })).count();
            assert_eq!(parked, 1, "{}", NAMES[step]);
            if kind == Kind::Compensatable {
                let finished = run(&[(1, Run, Quirk::Refuse), (step, Compensate, quirk)]);
                assert_eq!(finished.row.status, Status::Compensated, "{}", NAMES[step]);
            }
        }
    }
}

#[test]
fn a_retriable_step_that_refuses_is_shown_to_people_and_asked_again() {
    for (step, _) in steps().into_iter().filter(|(_, kind)| *kind == Kind::Retriable) {
        let finished = run(&[(step, Run, Quirk::Refuse)]);
        assert_eq!(finished.row.status, Status::Completed);
        assert!(finished.log.records(ID).iter().any(|record| matches!(record, Record::Parked { .. })));
    }
}
