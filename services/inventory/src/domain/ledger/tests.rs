//! The ledger against a reference model: random commands over few SKUs and orders, with a clock that only moves on.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::{Just, Strategy, prop_oneof};
use spillway_types::{BuyerId, Fingerprint, Money, RequestId};

use super::*;
use crate::domain::command::Once;

/// A world in memory that keeps everything that was ever decided.
#[derive(Default)]
struct World {
    items: BTreeMap<Sku, Item>,
    reservations: BTreeMap<OrderId, Reservation>,
    movements: Vec<Movement>,
}

impl View for World {
    fn item(&self, sku: &Sku) -> Option<&Item> {
        self.items.get(sku)
    }

    fn reservation(&self, order_id: OrderId) -> Option<&Reservation> {
        self.reservations.get(&order_id)
    }

    fn lapsed(&self, now: Timestamp) -> Vec<&Reservation> {
        self.reservations.values().filter(|reservation| reservation.has_lapsed(now)).collect()
    }
}

impl World {
    fn ask(&mut self, command: &Command, now: Timestamp) -> Result<Answer, Fault> {
        let Decision { answer, effects } = decide(self, command, now);
        for (order_id, after) in &effects.reservations {
            if let Some(before) = self.reservations.get(order_id) {
                assert!(before.state.may_become(after.state), "{:?} became {:?}", before.state, after.state);
                assert_eq!(after.version, before.version + 1, "I11: one version a transition");
            }
        }
        self.items.extend(effects.items);
        self.reservations.extend(effects.reservations);
        self.movements.extend(effects.movements);
        answer
    }

    /// I1 and I2, from the rows and from the journal.
    fn check(&self) {
        for (sku, item) in &self.items {
            let balances = [item.on_hand, item.available, item.held, item.sold_unshipped];
            assert!(balances.iter().all(|balance| *balance >= 0), "{item:?}");
            assert_eq!(item.on_hand, item.available + item.held + item.sold_unshipped, "{item:?}");
            let journal = self.movements.iter().filter(|movement| movement.sku == *sku).fold([0; 4], |sum, m| {
                [sum[0] + m.on_hand, sum[1] + m.available, sum[2] + m.held, sum[3] + m.sold_unshipped]
            });
            assert_eq!(balances, journal, "the journal of {sku} sums to its balances");
            let (mut held, mut sold) = (0, 0);
            for reservation in self.reservations.values() {
                for line in reservation.lines.iter().filter(|line| line.sku == *sku) {
                    match reservation.state {
                        State::Held | State::Pinned => held += i64::from(line.quantity),
                        State::Confirmed => sold += i64::from(line.confirmed),
                        State::Released | State::Expired | State::Refused => {}
                    }
                }
            }
            assert_eq!((item.held, item.sold_unshipped), (held, sold), "promises of {sku} are what is held and sold");
        }
    }
}

fn sku(n: usize) -> Sku {
    Sku::new(["A", "B", "C"][n % 3]).unwrap()
}

fn order(n: u128) -> OrderId {
    OrderId::new(uuid_from(n))
}

fn uuid_from(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

fn once<T: serde::Serialize>(body: T) -> Once<T> {
    Once { request_id: RequestId::random(), fingerprint: Fingerprint::of(&body), body }
}

fn reserve(order_id: OrderId, lines: Vec<(Sku, u32)>, hold: Hold) -> Command {
    let buyer_id = BuyerId::new("ada").unwrap();
    let fingerprint = Fingerprint::of(&(&buyer_id, &lines, hold));
    Command::Reserve(Reserve { order_id, buyer_id, lines, hold, fingerprint })
}

fn create(n: usize, on_hand: i64) -> Command {
    let unit_price = Money::new(1_000, "EUR".parse().unwrap());
    Command::CreateItem(once(CreateItem { sku: sku(n), title: "thing".to_owned(), unit_price, on_hand }))
}

fn stocked(on_hand: i64) -> World {
    let mut world = World::default();
    for n in 0..3 {
        world.ask(&create(n, on_hand), at(0)).unwrap();
    }
    world
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn commands() -> impl Strategy<Value = Command> {
    let lines = proptest::collection::btree_map(0..3_usize, 1..5_u32, 1..3)
        .prop_map(|lines| lines.into_iter().map(|(n, quantity)| (sku(n), quantity)).collect::<Vec<_>>());
    let hold = prop_oneof![Just(Hold::Pinned), (1..20_u64).prop_map(|s| Hold::For(Duration::from_secs(s)))];
    let orders = || (0..12_u128).prop_map(order);
    prop_oneof![
        4 => (orders(), lines.clone(), hold).prop_map(|(order_id, lines, hold)| reserve(order_id, lines, hold)),
        1 => orders().prop_map(Command::Pin),
        2 => (orders(), proptest::option::of(lines)).prop_map(|(order_id, lines)| {
            Command::Confirm(Confirm { order_id, lines })
        }),
        2 => orders().prop_map(Command::Release),
        1 => Just(Command::Expire),
        1 => (0..3_usize, -6..6_i64).prop_map(|(n, delta)| {
            Command::AdjustStock(once(AdjustStock { sku: sku(n), delta, reason: "count".to_owned() }))
        }),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(1_000))]

    #[test]
    fn balances_add_up_and_promises_end_once_whatever_is_asked(
        script in proptest::collection::vec((commands(), 0..4_i64), 1..60),
    ) {
        let mut world = stocked(8);
        let mut now = 0;
        let mut first_answers: BTreeMap<OrderId, (Command, Result<(), Fault>)> = BTreeMap::new();
        for (command, pause) in script {
            now += pause;
            let answer = world.ask(&command, at(now));
            world.check();
            if let Command::Reserve(asked) = &command {
                let said = answer.as_ref().map(|_| ()).map_err(Clone::clone);
                let (first, heard) = first_answers.entry(asked.order_id).or_insert((command.clone(), said.clone()));
                if *first == command {
                    assert_eq!(said, *heard, "the same key and command give the same answer");
                } else if !matches!(heard, Err(fault) if fault.reason == Reason::Cancelled) {
                    assert_eq!(said.unwrap_err().reason, Reason::RequestIdReused);
                }
            }
            if let Command::Release(_) = command {
                assert!(answer.is_ok(), "a compensation is accepted in every state: {answer:?}");
            }
        }
    }
}

#[test]
fn a_late_reserve_meets_the_tombstone() {
    let mut world = stocked(5);
    assert!(world.ask(&Command::Release(order(1)), at(1)).is_ok());
    let late = world.ask(&reserve(order(1), vec![(sku(0), 1)], Hold::Pinned), at(2)).unwrap_err();
    assert_eq!((late.reason, late.is_recorded()), (Reason::Cancelled, true));
    assert_eq!(world.items[&sku(0)].available, 5);
}

#[test]
fn a_refusal_names_every_short_sku_and_is_repeated_after_stock_came_back() {
    let mut world = stocked(2);
    let greedy = reserve(order(1), vec![(sku(0), 3), (sku(1), 2), (sku(2), 9)], Hold::Pinned);
    let refused = world.ask(&greedy, at(1)).unwrap_err();
    let short: Vec<_> = refused.preconditions.iter().map(|p| (p.subject.as_str(), p.description.as_str())).collect();
    assert_eq!(short, [("A", "3 wanted, 2 left"), ("C", "9 wanted, 2 left")]);
    assert!(refused.reason == Reason::OutOfStock && refused.is_recorded());
    world
        .ask(&Command::AdjustStock(once(AdjustStock { sku: sku(0), delta: 90, reason: "found".into() })), at(2))
        .unwrap();
    assert_eq!(world.ask(&greedy, at(3)).unwrap_err(), refused);
    world.check();
}

#[test]
fn who_needs_the_units_takes_lapsed_promises_back() {
    let mut world = stocked(3);
    world.ask(&reserve(order(1), vec![(sku(0), 3)], Hold::For(Duration::from_secs(10))), at(0)).unwrap();
    assert!(world.ask(&reserve(order(2), vec![(sku(0), 1)], Hold::Pinned), at(9)).is_err(), "not lapsed yet");
    assert!(world.ask(&reserve(order(3), vec![(sku(0), 1)], Hold::Pinned), at(10)).is_ok());
    assert_eq!(world.reservations[&order(1)].state, State::Expired);
    let late = world.ask(&Command::Confirm(Confirm { order_id: order(1), lines: None }), at(11)).unwrap_err();
    assert_eq!(late.reason, Reason::Expired);
    world.check();
}

#[test]
fn a_partial_confirm_releases_the_rest_and_a_pinned_promise_never_lapses() {
    let mut world = stocked(5);
    world.ask(&reserve(order(1), vec![(sku(0), 4), (sku(1), 2)], Hold::For(Duration::from_secs(1))), at(0)).unwrap();
    world.ask(&Command::Pin(order(1)), at(0)).unwrap();
    assert!(matches!(world.ask(&Command::Expire, at(1_000)), Ok(Answer::Expired(0))));
    let part = Command::Confirm(Confirm { order_id: order(1), lines: Some(vec![(sku(0), 3)]) });
    world.ask(&part, at(1_001)).unwrap();
    world.ask(&part, at(1_002)).unwrap();
    let balances = |n| (world.items[&sku(n)].available, world.items[&sku(n)].held, world.items[&sku(n)].sold_unshipped);
    assert_eq!((balances(0), balances(1)), ((2, 0, 3), (5, 0, 0)));
    let other = Command::Confirm(Confirm { order_id: order(1), lines: None });
    assert_eq!(world.ask(&other, at(1_003)).unwrap_err().reason, Reason::RequestIdReused);
    let too_much = Command::Confirm(Confirm { order_id: order(1), lines: Some(vec![(sku(0), 5)]) });
    assert_eq!(world.ask(&too_much, at(1_003)).unwrap_err().reason, Reason::InvalidRequest);
    assert!(world.ask(&Command::Release(order(1)), at(1_004)).is_ok());
    assert_eq!(world.reservations[&order(1)].state, State::Confirmed, "past the end it changes nothing");
}
