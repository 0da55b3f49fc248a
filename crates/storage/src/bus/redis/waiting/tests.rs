use std::ops::RangeInclusive;

use spillway_types::{EventId, Timestamp};

use super::*;

fn lane(key: &str) -> Lane {
    Lane { topic: "t".to_owned(), key: key.to_owned() }
}

fn event(key: &str, sequence: i64) -> Event {
    let Lane { topic, key } = lane(key);
    let (event_id, occurred_at, payload) = (EventId::random(), Timestamp::from_micros(1), String::new());
    Event { event_id, topic, key, sequence, occurred_at, payload }
}

fn place(id: u32) -> Place {
    ("s".to_owned(), EntryId::parse(&format!("{id}-0")).unwrap())
}

fn standing(key: &str, taken: i64) -> BTreeMap<Lane, Standing> {
    BTreeMap::from([(lane(key), Standing { taken, is_blocked: false })])
}

fn ready(plan: &Plan) -> Vec<i64> {
    plan.ready.iter().map(|event| event.sequence).collect()
}

#[test]
fn only_what_is_next_is_delivered_and_what_was_taken_is_acknowledged_in_every_copy() {
    let mut waiting = Waiting::default();
    for (id, sequence) in [(1, 3), (2, 2), (3, 2), (4, 1), (5, 5)] {
        waiting.add(event("a", sequence), place(id));
    }
    waiting.add(event("a", 5), place(5));
    let plan = waiting.plan(&standing("a", 1), 10, Instant::now());
    assert_eq!((ready(&plan), plan.taken[&lane("a")]), (vec![2, 3], 3), "1 was taken, 4 is missing");
    let mut done = waiting.done(&plan.taken);
    done.sort();
    assert_eq!((done, waiting.len()), ([1, 2, 3, 4].map(place).to_vec(), 1));
}

#[test]
fn a_gap_is_asked_for_after_a_moment_and_again_after_a_while() {
    let mut waiting = Waiting::default();
    waiting.add(event("a", 4), place(1));
    let start = Instant::now();
    let mut asked = Vec::new();
    let mut looks = 0;
    for millis in (0..2_300).step_by(50) {
        let now = start + Duration::from_millis(millis);
        looks += 1;
        for missing in waiting.plan(&standing("a", 1), 10, now).missing {
            assert_eq!(missing, (lane("a"), 2, 3));
            asked.push(millis);
        }
    }
    assert_eq!((asked, looks), (vec![100, 1_100, 2_100], 46));
    // Filled, and open again: patience begins anew.
    waiting.add(event("a", 2), place(2));
    waiting.add(event("a", 3), place(3));
    let now = start + Duration::from_secs(3);
    let plan = waiting.plan(&standing("a", 1), 10, now);
    waiting.done(&plan.taken);
    waiting.add(event("a", 6), place(4));
    assert_eq!(waiting.plan(&standing("a", 4), 10, now).missing, []);
}

#[test]
fn what_goes_beyond_the_limit_is_forgotten_and_never_acknowledged() {
    let mut waiting = Waiting::default();
    let ids: RangeInclusive<u32> = 1..=100;
    for id in ids {
        waiting.add(event(&format!("key {id}"), 2), place(id));
    }
    waiting.shrink(40);
    assert_eq!((waiting.len(), waiting.lanes().len()), (40, 40));
    let plan = waiting.plan(&BTreeMap::new(), 10, Instant::now());
    assert_eq!((ready(&plan), waiting.done(&plan.taken)), (vec![], vec![]));
}
