//! Many sagas at once: room, order, isolation, shutting down.

use std::time::Duration;

use spillway_saga::{
    EngineConfig, EngineError, Fate, Log, Record, SagaId, SagaRow, StartError, Status,
    log::{Attempts, CallKind},
};
use spillway_types::{Fault, Reason, Timestamp};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    harness::{Harness, ID, asked, in_paused_time, order},
    model::{LATENCY, Quirk},
};

fn id(n: u128) -> SagaId {
    SagaId(Uuid::from_u128(n))
}

#[test]
fn a_full_engine_writes_nothing_and_says_when_to_come_back() {
    in_paused_time(async {
        let harness = Harness::with(EngineConfig { active_max: 2, ..EngineConfig::default() });
        let first = harness.engine.start(order(id(1))).await.unwrap();
        harness.engine.start(order(id(2))).await.unwrap();
        let error = harness.engine.start(order(id(3))).await.unwrap_err();
        assert!(matches!(error, StartError::Busy));
        assert!(harness.log.row(id(3)).is_none());
        let fault = Fault::from(error);
        assert_eq!((fault.reason, fault.retry_after), (Reason::Shed, Some(Duration::from_secs(1))));
        let mut handle = first.handle;
        handle.left().await;
        sleep(LATENCY).await;
        assert!(harness.engine.start(order(id(3))).await.is_ok());
    });
}

#[test]
fn thirty_two_callers_with_one_key_share_one_saga() {
    in_paused_time(async {
        let harness = Harness::new();
        let starts = (0..32).map(|_| {
            let engine = harness.engine.clone();
            tokio::spawn(async move { engine.start(order(ID)).await.unwrap() })
        });
        let mut first = 0;
        for started in starts.collect::<Vec<_>>() {
            let mut started = started.await.unwrap();
            first += usize::from(!started.is_repeat);
            assert_eq!(started.handle.answer().await.fate, Fate::Forward);
        }
        assert_eq!(first, 1);
        assert_eq!(harness.world.calls(0, CallKind::Run), 1);
    });
}

#[test]
fn a_caller_who_goes_away_does_not_take_the_saga_along() {
    in_paused_time(async {
        let harness = Harness::new();
        let engine = harness.engine.clone();
        let caller = tokio::time::timeout(Duration::from_micros(1), engine.start(order(ID))).await;
        drop(caller);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(harness.log.row(ID).unwrap().status, Status::Completed);
    });
}

#[test]
fn a_poisoned_saga_parks_and_the_others_go_on() {
    in_paused_time(async {
        let mut harness = Harness::new();
        harness.place().await.left().await;
        let row = harness.log.row(ID).unwrap();
        let stuck = |n, change: fn(&mut SagaRow)| {
            let mut row =
                SagaRow { id: id(n), key: n.to_string(), status: Status::Running, journal: None, ..row.clone() };
            change(&mut row);
            harness.log.put(row);
        };
        stuck(100, |row| row.version = 99);
        stuck(101, |row| "{".clone_into(&mut row.input));
        stuck(102, |row| "elsewhere".clone_into(&mut row.definition));
        for n in 103..1_103 {
            stuck(n, |_| {});
        }
        harness.restart().await;
        sleep(Duration::from_secs(5)).await;
        for n in 100..103 {
            let row = harness.log.row(id(n)).unwrap();
            assert_eq!((row.status, row.parked.is_some(), row.wakeup.is_some()), (Status::Parked, true, true));
        }
        for n in 103..1_103 {
            assert_eq!(harness.log.row(id(n)).unwrap().status, Status::Completed);
        }
    });
}

#[test]
fn recovery_is_paced_and_begins_with_the_oldest() {
    in_paused_time(async {
        let mut harness = Harness::new();
        harness.place().await.left().await;
        let row = harness.log.row(ID).unwrap();
        for n in 0..6_000_u32 {
            // Ids run against the age.
            let created = Timestamp::from_micros(i64::from(n));
            let id = id(1_000_000 - u128::from(n));
            let (key, status) = (n.to_string(), Status::Running);
            harness.log.put(SagaRow { id, key, status, created, journal: None, ..row.clone() });
        }
        let before = Instant::now();
        harness.restart().await;
        sleep(Duration::from_millis(1_500)).await;
        assert_eq!(harness.log.row(id(1_000_000)).unwrap().status, Status::Completed);
        assert_eq!(harness.log.row(id(1_000_000 - 5_999)).unwrap().status, Status::Running);
        while harness.log.row(id(1_000_000 - 5_999)).unwrap().status == Status::Running {
            sleep(Duration::from_millis(10)).await;
        }
        let took = before.elapsed();
        assert!((Duration::from_millis(2_800)..Duration::from_millis(3_500)).contains(&took), "{took:?}");
    });
}

#[test]
fn a_saga_that_lost_its_driver_is_found_by_the_next_scan() {
    in_paused_time(async {
        let mut harness = Harness::new();
        harness.place().await.left().await;
        let row = harness.log.row(ID).unwrap();
        sleep(Duration::from_secs(60)).await;
        harness.log.put(SagaRow { id: id(1), key: "1".to_owned(), status: Status::Running, journal: None, ..row });
        sleep(Duration::from_secs(3)).await;
        let row = harness.log.row(id(1)).unwrap();
        assert_eq!((row.status, row.drives), (Status::Completed, 1));
    });
}

#[test]
fn a_driver_that_another_one_overtook_stops_and_tells_the_truth() {
    in_paused_time(async {
        let mut harness = Harness::new().arrange(4, CallKind::Run, Quirk::Hang);
        let mut handle = harness.place().await;
        let other = Harness::new();
        drop(other);
        sleep(Duration::from_millis(100)).await;
        // Elsewhere it was turned back and finished meanwhile.
        let at = Timestamp::from_micros(1);
        let mut row = harness.log.row(ID).unwrap();
        row.apply(0, Record::Compensating { cause: asked() }, at).unwrap();
        let end = spillway_saga::End::Compensated;
        row.apply(0, Record::Finished { end, cause: None, journal: Default::default() }, at).unwrap();
        harness.log.put(row.clone());
        let left = handle.left().await;
        assert_eq!((left.status, left.cause.as_ref()), (Status::Compensated, Some(&asked())));
        sleep(Duration::from_secs(60)).await;
        assert_eq!((harness.log.row(ID), harness.engine.active()), (Some(row), 0));
    });
}

#[test]
fn a_log_that_is_away_for_a_while_delays_and_loses_nothing() {
    for refused in [false, true] {
        in_paused_time(async {
            let mut harness = Harness::new().arrange(3, CallKind::Run, Quirk::LostBefore);
            if refused {
                harness.world.arrange(3, CallKind::Run, Quirk::Refuse);
            }
            let _handle = harness.place().await;
            harness.log.fail_next(5);
            let finished = harness.run().await;
            assert_eq!(finished.row.status, if refused { Status::Compensated } else { Status::Completed });
        });
    }
}

#[test]
fn a_log_that_is_away_at_the_start_refuses_the_start() {
    in_paused_time(async {
        let harness = Harness::new();
        harness.log.fail_next(1);
        let error = harness.engine.start(order(ID)).await.unwrap_err();
        assert!(matches!(error, StartError::Log(_)));
        assert_eq!((harness.world.calls(0, CallKind::Run), harness.engine.active()), (0, 0));
        assert!(harness.engine.start(order(ID)).await.is_ok());
    });
}

#[test]
fn a_shutdown_lets_calls_end_and_the_next_process_goes_on() {
    in_paused_time(async {
        let mut harness = Harness::new();
        let mut handle = harness.place().await;
        let before = Instant::now();
        harness.engine.shutdown().await;
        assert_eq!(before.elapsed(), LATENCY, "the call in flight ended, and none was begun");
        assert_eq!(harness.world.calls(0, CallKind::Run), 1);
        assert_eq!(harness.engine.active(), 0);
        assert_eq!(handle.answer().await.status, Status::Running);
        assert!(matches!(harness.engine.start(order(id(2))).await, Err(StartError::Draining)));
        harness.restart().await;
        assert_eq!(harness.run().await.row.status, Status::Completed);
    });
}

#[test]
fn a_shutdown_does_not_wait_for_ever() {
    in_paused_time(async {
        let config = EngineConfig { drain: Duration::from_millis(200), ..EngineConfig::default() };
        let mut harness = Harness::with(config);
        harness.world.arrange(0, CallKind::Run, Quirk::Hang);
        let _handle = harness.place().await;
        let before = Instant::now();
        harness.engine.shutdown().await;
        assert_eq!((before.elapsed(), harness.engine.active()), (config.drain, 0));
    });
}

#[test]
fn lookups_find_what_is_there_and_wake_nobody() {
    in_paused_time(async {
        let mut harness = Harness::new();
        assert!(matches!(harness.engine.attach(ID).await, Err(EngineError::NotFound(ID))));
        assert!(matches!(harness.engine.turn_back(ID, asked()).await, Err(EngineError::NotFound(ID))));
        assert!(harness.engine.find("key").await.unwrap().is_none());
        harness.place().await.left().await;
        assert_eq!(harness.engine.attach(ID).await.unwrap().snapshot().status, Status::Completed);
        let found = harness.engine.find(&format!("key of {ID}")).await.unwrap().unwrap();
        assert_eq!(found.snapshot().fate, Fate::Forward);
        let mut late = harness.engine.turn_back(ID, asked()).await.unwrap();
        assert_eq!(late.settled().await.fate, Fate::Forward, "too late is no error");
    });
}

#[test]
fn a_cancellation_whose_arbiter_needs_eyes_is_not_forgotten() {
    in_paused_time(async {
        let mut harness = Harness::new().arrange(4, CallKind::Run, Quirk::LostBefore).arrange(
            2,
            CallKind::Compensate,
            Quirk::Permanent,
        );
        let _handle = harness.place().await;
        sleep(LATENCY * 5).await;
        let mut handle = harness.engine.turn_back(ID, asked()).await.unwrap();
        assert_eq!(handle.settled().await.status, Status::Parked);
        harness.restart().await;
        let finished = harness.run().await;
        assert_eq!((finished.row.status, finished.row.cause), (Status::Compensated, Some(asked())));
    });
}

#[test]
fn attempts_are_counted_across_drives() {
    in_paused_time(async {
        let mut harness = Harness::new().arrange(5, CallKind::Run, Quirk::Down(Duration::from_secs(200)));
        let _handle = harness.place().await;
        sleep(Duration::from_secs(150)).await;
        let row = harness.log.row(ID).unwrap();
        let known: Vec<&Attempts> = row.attempts.iter().filter(|known| known.step == "confirm_stock").collect();
        assert_eq!((row.status, known.len()), (Status::Parked, 1));
        assert!(known[0].attempts > 8 && known[0].fault.is_some(), "{known:?}");
        let listed =
            harness.log.list(spillway_saga::log::Listing { statuses: vec![Status::Parked], before: None, limit: 9 });
        assert_eq!(listed.await.unwrap(), [row]);
        assert_eq!(harness.run().await.row.status, Status::Completed);
    });
}
