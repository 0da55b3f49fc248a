//! What was said to whom: copies of one call hear one verdict.
//!
//! A first attempt may arrive twice, at once or one shortly after the other. Were one copy let through and the other
//! refused, a caller could take the refusal for the answer while the ledger holds units for it, which nobody would then
//! give back.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use spillway_types::OrderId;
use tokio::time::Instant;

/// Orders that are remembered as let through: what the ledger takes in during some ten seconds.
const PASSED_MAX: usize = 65_536;
/// Orders that are remembered as refused: a flash sale's worth of the time for which a refusal stands.
const REFUSED_MAX: usize = 16_384;

/// What is left of each short line, by the line's place in the Reserve.
pub(super) type Short = Box<[(usize, i64)]>;

/// A verdict on all of a Reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Let through.
    Passed,
    /// Refused.
    Refused(Short),
}

/// The verdicts that still stand.
#[derive(Debug)]
pub(super) struct Verdicts {
    passed: Ring<()>,
    refused: Ring<(Instant, Short)>,
    /// How long a refusal stands.
    refusal_stands: Duration,
}

/// A bounded number of orders, of which the first to come makes room.
#[derive(Debug)]
struct Ring<V> {
    max: usize,
    known: HashMap<OrderId, V>,
    order: VecDeque<OrderId>,
}

// === impl Verdicts ===

impl Verdicts {
    /// None yet; each refusal will stand for `refusal_stands`, which is to be short: stock may come back.
    pub(super) fn new(refusal_stands: Duration) -> Self {
        Self { passed: Ring::new(PASSED_MAX), refused: Ring::new(REFUSED_MAX), refusal_stands }
    }

    /// What an order heard before, if that still stands.
    pub(super) fn standing(&self, order_id: OrderId, now: Instant) -> Option<Judged> {
        if self.passed.known.contains_key(&order_id) {
            return Some(Judged::Passed);
        }
        let (since, short) = self.refused.known.get(&order_id)?;
        (now.saturating_duration_since(*since) < self.refusal_stands).then(|| Judged::Refused(short.clone()))
    }

    /// Notes what was found for an order, and says what it is to hear: another copy may have been quicker.
    pub(super) fn first(&mut self, order_id: OrderId, found: Judged, now: Instant) -> Judged {
        if let Some(stands) = self.standing(order_id, now) {
            return stands;
        }
        match &found {
            Judged::Passed => self.passed.put(order_id, ()),
            Judged::Refused(short) => self.refused.put(order_id, (now, short.clone())),
        }
        found
    }
}

// === impl Ring ===

impl<V> Ring<V> {
    fn new(max: usize) -> Self {
        Self { max, known: HashMap::new(), order: VecDeque::new() }
    }

    fn put(&mut self, order_id: OrderId, value: V) {
        if self.known.insert(order_id, value).is_none() {
            self.order.push_back(order_id);
        }
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: usize) -> OrderId {
        OrderId::new(uuid::Uuid::from_u128(n.try_into().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_verdict_stands_a_refusal_for_a_while_and_memory_is_bounded() {
        let stands = Duration::from_millis(250);
        let (mut verdicts, short) = (Verdicts::new(stands), Judged::Refused(Box::from([(0, 3)])));
        assert_eq!(verdicts.first(order(1), Judged::Passed, Instant::now()), Judged::Passed);
        assert_eq!(verdicts.first(order(1), short.clone(), Instant::now()), Judged::Passed, "it was let through");
        assert_eq!(verdicts.first(order(2), short.clone(), Instant::now()), short);
        assert_eq!(verdicts.first(order(2), Judged::Passed, Instant::now()), short, "it was refused");
        tokio::time::advance(stands).await;
        assert_eq!(verdicts.first(order(2), Judged::Passed, Instant::now()), Judged::Passed, "that was then");
        assert_eq!(verdicts.first(order(1), short.clone(), Instant::now()), Judged::Passed, "and this is for good");

        for n in 0..2 * PASSED_MAX {
            verdicts.first(order(10 + n), Judged::Passed, Instant::now());
            verdicts.first(order(10_000_000 + n), short.clone(), Instant::now());
        }
        let (passed, refused) = (&verdicts.passed, &verdicts.refused);
        assert_eq!((passed.known.len(), passed.order.len()), (PASSED_MAX, PASSED_MAX));
        assert_eq!((refused.known.len(), refused.order.len()), (REFUSED_MAX, REFUSED_MAX));
        assert_eq!(verdicts.standing(order(1), Instant::now()), None);
    }
}
