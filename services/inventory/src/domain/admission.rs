//! Admission: a quick guess, ahead of the ledger, at whether a Reserve can succeed.
//!
//! A SKU's counter says how many more units are worth asking the ledger for. It is set from a look at the ledger, counts
//! down with each admission, and lapses: a "no" always rests on a look that is younger than the reconcile interval. The
//! form in Redis does in scripts what is written here.

use std::collections::BTreeMap;

use spillway_types::{OrderId, Sku};

/// A moment on the clock of whoever keeps the counters, in microseconds. Only moments of one keeper can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// Which setting of a counter an admission was counted by; no two settings share one. What comes back to a counter that
/// has been set since, or was lost and made anew, is known by it and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(pub u64);

/// What the ledger has of a SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Which.
    pub sku: Sku,
    /// Units that a Reserve could have, those of lapsed promises included.
    pub available: i64,
    /// The item's version at that moment.
    pub version: i64,
}

/// How a counter is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Drawn anew for each.
    pub generation: Generation,
    /// When what was seen is too old to refuse anybody.
    pub until: Moment,
}

/// What a counter says to a Reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has no opinion: there is no counter, or it has lapsed.
    Open,
    /// Worth asking. A refusal of the ledger should be given back to this generation.
    Admitted(Generation),
    /// Not worth asking: so many are left.
    Short(i64),
}

/// A SKU's counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    left: i64,
    version: i64,
    setting: Setting,
    /// Orders counted since it was set, so that who asks twice is counted once.
    admitted: BTreeMap<OrderId, u32>,
}

// === impl Counter ===

impl Counter {
    /// A counter set to what was seen, unless that comes too late: when it has lapsed meanwhile, or `known` rests on a
    /// later version of the item.
    pub fn set(known: Option<&Self>, stock: &Stock, setting: Setting, now: Moment) -> Option<Self> {
        let is_late = known.is_some_and(|known| !known.has_lapsed(now) && known.version > stock.version);
        let counter = Self { left: stock.available, version: stock.version, setting, admitted: BTreeMap::new() };
        (!is_late && !counter.has_lapsed(now)).then_some(counter)
    }

    /// Counts an order, if there is enough left for it.
    pub fn admit(&mut self, order_id: OrderId, quantity: u32, now: Moment) -> Verdict {
        if self.has_lapsed(now) {
            return Verdict::Open;
        }
        if self.admitted.contains_key(&order_id) {
            return Verdict::Admitted(self.setting.generation);
        }
        if self.left < i64::from(quantity) {
            return Verdict::Short(self.left);
        }
        self.left -= i64::from(quantity);
        self.admitted.insert(order_id, quantity);
        Verdict::Admitted(self.setting.generation)
    }

    /// Takes back what was counted for an order, once, and only from the generation that counted it.
    pub fn give_back(&mut self, order_id: OrderId, generation: Generation) {
        if self.setting.generation == generation
            && let Some(quantity) = self.admitted.remove(&order_id)
        {
            self.left += i64::from(quantity);
        }
    }

    /// How many more units it would admit; `None` when it has lapsed.
    pub fn left(&self, now: Moment) -> Option<i64> {
        (!self.has_lapsed(now)).then_some(self.left)
    }

    fn has_lapsed(&self, now: Moment) -> bool {
        self.setting.until <= now
    }
}
