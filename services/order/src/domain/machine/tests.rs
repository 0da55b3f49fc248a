use std::collections::BTreeSet;

use super::*;

/// The machine once more, as prose: from, roles, to. Written apart from the table so that neither can change alone.
const PROSE: &str = "
    -                 PENDING           SAGA
    PENDING           AWAITING_PAYMENT  SAGA
    PENDING           PAID              SAGA
    PENDING           CANCELLED         SAGA BUYER OPERATOR SYSTEM
    AWAITING_PAYMENT  PAID              SAGA
    AWAITING_PAYMENT  CANCELLED         SAGA BUYER OPERATOR SYSTEM
    PAID              FULFILLING        SAGA OPERATOR SYSTEM
    PAID              REFUNDING         SAGA
    FULFILLING        SHIPPED           CARRIER OPERATOR
    FULFILLING        REFUNDING         SAGA
    SHIPPED           DELIVERED         CARRIER OPERATOR
    SHIPPED           RETURNING         SAGA
    DELIVERED         COMPLETED         OPERATOR SYSTEM
    DELIVERED         RETURNING         SAGA
    REFUNDING         REFUNDED          SAGA
    RETURNING         RETURNED          SAGA
";

#[test]
fn of_every_state_move_and_role_exactly_the_listed_ones_are_legal() {
    let mut listed = BTreeSet::new();
    for line in PROSE.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        listed.extend(words[2..].iter().map(|role| (words[0], words[1], *role)));
    }
    let mut legal = BTreeSet::new();
    let mut asked = 0;
    for from in std::iter::once(None).chain(State::ALL.map(Some)) {
        for step in Move::ALL {
            for role in Role::ALL {
                asked += 1;
                if let Some(to) = next(from, step, role) {
                    assert_eq!(step, Move::towards(to), "each state is reached by one move");
                    assert!(step.is_for(role));
                    legal.insert((from.map_or("-", State::as_str), to.as_str(), role.as_str()));
                }
            }
        }
    }
    assert_eq!((asked, legal), (13 * 12 * 5, listed));
}

#[test]
fn four_states_are_final() {
    let mut last: Vec<_> = State::ALL.into_iter().filter(|state| state.is_final()).collect();
    last.sort_by_key(|state| state.as_str());
    assert_eq!(last, [Cancelled, Completed, Refunded, Returned]);
}

#[test]
fn no_order_can_make_a_move_twice() {
    // From each state, walk on for as long as there is a way: a circle would not end within the number of states.
    fn longest(from: State, left: usize) -> usize {
        assert!(left > 0, "the machine has a circle through {from:?}");
        let ways = TABLE.iter().filter(|edge| edge.from == Some(from));
        ways.map(|edge| 1 + longest(edge.to, left - 1)).max().unwrap_or(0)
    }
    // Awaiting payment, paid, fulfilling, shipped, delivered, returning, returned.
    assert_eq!(longest(Pending, State::ALL.len()), 7);
}

#[test]
fn stored_names_are_read_back_and_are_the_names_in_json() {
    for state in State::ALL {
        assert_eq!(State::from_stored(state.as_str()), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        assert_eq!(Move::from_stored(Move::towards(state).as_str()), Some(Move::towards(state)));
        assert_eq!(serde_json::to_value(Move::towards(state)).unwrap(), Move::towards(state).as_str());
    }
    for role in Role::ALL {
        assert_eq!(Role::from_stored(role.as_str()), Some(role));
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
    assert_eq!((State::from_stored("paid"), Move::from_stored("PAID"), Role::from_stored("")), (None, None, None));
}
