//! The store suite: what the engine asks of its log, asked of real databases. Written once; each backend runs it.

use std::time::Duration;

use futures_util::future::join_all;
use spillway_saga::{
    Status,
    log::{AT_ONCE, Attempts, CallKind, Journal},
    state::{Direction, End},
};
use spillway_types::{Fault, Reason, id::Partition};

use self::house::{House, id_in, moment, row};
use super::*;

mod house;
mod replicas;

fn fault(text: &str) -> Fault {
    Fault::new(Reason::Cancelled, text).with("why", "\u{0} and \"quotes\"")
}

/// Every record, in an order in which one saga may have them.
fn life() -> Vec<(Record, i64)> {
    let attempts = |attempts| Attempts { step: "reserve".to_owned(), call: CallKind::Run, attempts, fault: None };
    let parked = |turning| Record::Parked { reason: fault("stuck"), wakeup: moment(90), turning };
    vec![
        (Record::Attempt(attempts(2)), 0),
        (Record::Attempt(attempts(3)), 0),
        (Record::Waiting { due: moment(50) }, 0),
        (Record::Resumed { direction: Direction::Forward, drive: 1 }, 0),
        (parked(Some(fault("asked"))), 0),
        (Record::Resumed { direction: Direction::Turning, drive: 2 }, 0),
        (Record::Onward, 0),
        (parked(None), 0),
        (Record::Resumed { direction: Direction::Onward, drive: 3 }, 0),
        (Record::Finished { end: End::Completed, cause: None, journal: Journal::default() }, 0),
    ]
}

#[tokio::test]
async fn a_key_has_one_saga_from_32_callers_and_after_a_restart() {
    for house in House::each().await {
        let shop = house.open().await;
        let starts = (0..32).map(|n| {
            let (log, row) = (shop.log(), row(id_in(n), "key"));
            async move { (row.id, log.start(row).await.unwrap()) }
        });
        let started = join_all(starts).await;
        let new: Vec<_> = started.iter().filter(|(_, started)| matches!(started, Started::New)).collect();
        assert_eq!(new.len(), 1, "{house}: {started:?}");
        let winner = new[0].0;
        let found = |started: &Started| matches!(started, Started::Existing(row) if row.id == winner);
        assert!(started.iter().all(|(id, started)| *id == winner || found(started)), "{house}: {started:?}");
        drop(shop);
        let shop = house.open().await;
        assert!(found(&shop.log().start(row(id_in(99), "key")).await.unwrap()), "{house}: it survives a restart");
        assert_eq!(shop.log().load(id_in(99)).await.unwrap(), None, "{house}");
        assert_eq!(shop.log().find("key").await.unwrap().unwrap().id, winner, "{house}");
    }
}

#[tokio::test]
async fn a_row_reads_as_its_records_made_it() {
    for house in House::each().await {
        let log = house.open().await.log();
        let mut expected = row(id_in(1), "key");
        log.start(expected.clone()).await.unwrap();
        for (n, (record, epoch)) in (1..).zip(life()) {
            let said = format!("{house}: {record:?}");
            expected.apply(epoch, record.clone(), moment(n)).unwrap();
            log.record(id_in(1), epoch, record, moment(n)).await.unwrap();
            assert_eq!(log.load(id_in(1)).await.unwrap().as_ref(), Some(&expected), "{said}");
        }
        let again = Record::Compensating { cause: fault("late") };
        let illegal = log.record(id_in(1), 0, again.clone(), moment(99)).await;
        assert!(matches!(illegal, Err(LogError::Illegal(_))), "{house}: {illegal:?}");
        let missing = log.record(id_in(2), 0, again, moment(99)).await;
        assert_eq!(missing, Err(LogError::Missing(id_in(2))), "{house}");
        assert_eq!(log.load_all(&[id_in(2), id_in(1)]).await.unwrap(), [expected], "{house}");
    }
}

/// Sagas in every status, spread over partitions, some with timers.
async fn a_varied_lot(log: &DurableLog) -> Vec<SagaRow> {
    let mut rows = Vec::new();
    for n in 0..40_u8 {
        let mut fresh = row(id_in(n), &n.to_string());
        (fresh.created, fresh.updated) = (moment(i64::from(n / 2)), moment(i64::from(n / 2)));
        log.start(fresh).await.unwrap();
        let wakeup = moment(i64::from(n));
        let record = match n % 8 {
            0 => None,
            1 => Some(Record::Compensating { cause: fault("back") }),
            2 => Some(Record::Waiting { due: wakeup }),
            3 => Some(Record::Parked { reason: fault("stuck"), wakeup, turning: None }),
            4 => Some(Record::Finished { end: End::Completed, cause: None, journal: Journal::default() }),
            5 => Some(Record::Finished { end: End::Refused, cause: Some(fault("no")), journal: Journal::default() }),
            _ => {
                let signal = if n % 8 == 6 { Signal::TurnBack(fault("asked")) } else { Signal::Look };
                log.post(id_in(n), signal).await.unwrap();
                None
            }
        };
        if let Some(record) = record {
            log.record(id_in(n), 0, record, moment(i64::from(n))).await.unwrap();
        }
        rows.push(log.load(id_in(n)).await.unwrap().unwrap());
    }
    rows
}

#[tokio::test]
async fn what_is_due_is_found_page_by_page_oldest_first() {
    for house in House::each().await {
        let log = house.open().await.log();
        let mut rows = a_varied_lot(&log).await;
        rows.sort_by_key(|row| (row.created, row.id));
        let times = [-1, 7, 25, 100].map(moment);
        let parts = [None, Some(vec![Partition(1), Partition(3)]), Some(Vec::new())];
        for (n, partitions) in parts.iter().cycle().take(3 * 4 * 4 * 4).enumerate() {
            let at = |place: usize| times[n / 3 / 4_usize.pow(u32::try_from(place).unwrap()) % 4];
            let quiet_since = Some(at(0)).filter(|since| *since != moment(-1));
            let (waiting_until, parked_until) = (at(1), at(2));
            let mut query =
                Due { partitions: partitions.clone(), quiet_since, waiting_until, parked_until, after: None, limit: 3 };
            let expected: Vec<_> = rows.iter().filter(|row| query.includes(row)).map(|row| row.id).collect();
            let mut found = Vec::new();
            loop {
                let page = log.due(query.clone()).await.unwrap();
                assert!(page.len() <= 3, "{house}");
                let Some(last) = page.last() else { break };
                query.after = Some((last.created, last.id));
                found.extend(page.into_iter().map(|row| row.id));
            }
            assert_eq!(found, expected, "{house}: {query:?}");
        }
    }
}

#[tokio::test]
async fn lists_are_newest_first_and_pages_meet_without_gap() {
    for house in House::each().await {
        let log = house.open().await.log();
        let mut rows = a_varied_lot(&log).await;
        rows.sort_by_key(|row| std::cmp::Reverse((row.created, row.id)));
        for statuses in [vec![], vec![Status::Parked, Status::Refused], vec![Status::Compensated]] {
            let mut query = Listing { statuses, before: None, limit: 7 };
            let is_wanted = |row: &&SagaRow| query.statuses.is_empty() || query.statuses.contains(&row.status);
            let expected: Vec<_> = rows.iter().filter(is_wanted).cloned().collect();
            let mut found = Vec::new();
            loop {
                let page = log.list(query.clone()).await.unwrap();
                let Some(last) = page.last() else { break };
                query.before = Some((last.created, last.id));
                found.extend(page);
            }
            assert_eq!(found, expected, "{house}: {:?}", query.statuses);
        }
    }
}

#[tokio::test]
async fn word_stays_in_the_row_until_its_driver_has_heard_it() {
    for house in House::each().await {
        let log = house.open().await.log();
        assert_eq!(log.post(id_in(9), Signal::Look).await.unwrap(), None, "{house}: there is no such saga");
        log.start(row(id_in(1), "key")).await.unwrap();
        let posted = log.post(id_in(1), Signal::TurnBack(fault("asked"))).await.unwrap().unwrap();
        assert_eq!((posted.direction, posted.wakeup), (Direction::Turning, Some(AT_ONCE)), "{house}");
        assert_eq!(log.load(id_in(1)).await.unwrap(), Some(posted.clone()), "{house}");
        let again = log.post(id_in(1), Signal::TurnBack(fault("and again"))).await.unwrap();
        assert_eq!(again, Some(posted), "{house}: the first cause counts");
        // A driver that has not heard of it leaves; the word stays.
        log.record(id_in(1), 0, Record::Waiting { due: moment(50) }, moment(1)).await.unwrap();
        assert!(log.load(id_in(1)).await.unwrap().unwrap().has_word(), "{house}");
        let heard = Record::Resumed { direction: Direction::Turning, drive: 1 };
        log.record(id_in(1), 0, heard, moment(2)).await.unwrap();
        let row = log.load(id_in(1)).await.unwrap().unwrap();
        assert_eq!(
            (row.status, row.direction, row.has_word()),
            (Status::Running, Direction::Turning, false),
            "{house}"
        );
    }
}

#[tokio::test]
async fn a_driver_that_knows_an_older_row_is_refused() {
    for house in House::each().await {
        let log = house.open().await.log();
        log.start(row(id_in(1), "key")).await.unwrap();
        let resumed = |direction, drive| Record::Resumed { direction, drive };
        log.record(id_in(1), 0, resumed(Direction::Forward, 1), moment(1)).await.unwrap();
        let repeat = log.record(id_in(1), 0, resumed(Direction::Forward, 1), moment(1)).await;
        assert_eq!(repeat, Ok(()), "{house}: an answer that was lost");
        for stale in [resumed(Direction::Forward, 3), resumed(Direction::Onward, 2)] {
            let refused = log.record(id_in(1), 0, stale, moment(2)).await;
            assert_eq!(refused, Err(LogError::Fenced(id_in(1))), "{house}");
        }
        assert_eq!(log.load(id_in(1)).await.unwrap().unwrap().drives, 1, "{house}");
    }
}

#[tokio::test]
async fn a_saga_outlives_the_lease_that_it_was_started_under() {
    for house in House::each().await {
        let log = house.open().await.log();
        log.start(row(id_in(1), "key")).await.unwrap();
        let epoch = house.take(id_in(1).partition()).await;
        let resumed = Record::Resumed { direction: Direction::Forward, drive: 1 };
        log.record(id_in(1), epoch, resumed, moment(1)).await.unwrap();
        assert_eq!(log.load(id_in(1)).await.unwrap().unwrap().epoch, epoch, "{house}");
        let stale = Record::Waiting { due: moment(50) };
        let refused = log.record(id_in(1), epoch - 1, stale, moment(2)).await;
        assert_eq!(refused, Err(LogError::Fenced(id_in(1))), "{house}: epochs never go down");
        tokio::time::timeout(Duration::from_millis(50), log.posted()).await.expect_err("nobody left word");
    }
}
