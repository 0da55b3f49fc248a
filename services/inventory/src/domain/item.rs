//! A SKU's balances. Whatever happens, `on_hand = available + held + sold_unshipped`, and none is negative.

use serde::{Deserialize, Serialize};
use spillway_types::{Money, OrderId, Sku, Timestamp};

/// What there is of a SKU and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub sku: Sku,
    /// For people.
    pub title: String,
    /// Price of one unit; a reservation keeps the price of its moment.
    pub unit_price: Money,
    /// Units in the house.
    pub on_hand: i64,
    /// Units that may be promised.
    pub available: i64,
    /// Units promised but not paid.
    pub held: i64,
    /// Units paid but still in the house.
    pub sold_unshipped: i64,
    /// Raised by every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A line of the append-only journal: by how much each balance changed, and why. Summed over a SKU, a journal gives its
/// balances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Whose balances.
    pub sku: Sku,
    /// Why.
    pub kind: MovementKind,
    /// The reservation behind it, if there is one.
    pub order_id: Option<OrderId>,
    /// Change of `on_hand`, in units.
    pub on_hand: i64,
    /// Change of `available`, in units.
    pub available: i64,
    /// Change of `held`, in units.
    pub held: i64,
    /// Change of `sold_unshipped`, in units.
    pub sold_unshipped: i64,
    /// When.
    pub at: Timestamp,
}

/// Why balances changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MovementKind {
    /// An operator counted, received or wrote off units.
    Adjust,
    /// Units were promised.
    Hold,
    /// A promise was kept: the units are sold.
    Confirm,
    /// A promise was taken back.
    Release,
    /// A promise lapsed.
    Expire,
}

// === impl Item ===

impl Item {
    /// Applies a movement.
    ///
    /// Callers have judged it before; a movement that would make a balance negative is a slip in a rule, and is answered
    /// with `None` rather than stored.
    #[must_use]
    pub fn moved(&self, movement: &Movement) -> Option<Self> {
        let sum = |balance: i64, change: i64| balance.checked_add(change).filter(|sum| *sum >= 0);
        let item = Self {
            on_hand: sum(self.on_hand, movement.on_hand)?,
            available: sum(self.available, movement.available)?,
            held: sum(self.held, movement.held)?,
            sold_unshipped: sum(self.sold_unshipped, movement.sold_unshipped)?,
            version: self.version + 1,
            updated_at: movement.at,
            ..self.clone()
        };
        (item.on_hand == item.available + item.held + item.sold_unshipped).then_some(item)
    }
}

// === impl Movement ===

impl Movement {
    /// Units counted in (or, negative, out) by an operator.
    pub fn adjust(sku: &Sku, units: i64, at: Timestamp) -> Self {
        let changes = Balances { on_hand: units, available: units, ..Balances::default() };
        Self::new(MovementKind::Adjust, sku, None, changes, at)
    }

    /// Units promised to a reservation.
    pub fn hold(sku: &Sku, order_id: OrderId, units: i64, at: Timestamp) -> Self {
        let changes = Balances { available: -units, held: units, ..Balances::default() };
        Self::new(MovementKind::Hold, sku, Some(order_id), changes, at)
    }

    /// Units sold out of a promise.
    pub fn confirm(sku: &Sku, order_id: OrderId, units: i64, at: Timestamp) -> Self {
        let changes = Balances { held: -units, sold_unshipped: units, ..Balances::default() };
        Self::new(MovementKind::Confirm, sku, Some(order_id), changes, at)
    }

    /// Units back on offer, because a promise was taken back or lapsed.
    pub fn give_back(kind: MovementKind, sku: &Sku, order_id: OrderId, units: i64, at: Timestamp) -> Self {
        let changes = Balances { available: units, held: -units, ..Balances::default() };
        Self::new(kind, sku, Some(order_id), changes, at)
    }

    fn new(kind: MovementKind, sku: &Sku, order_id: Option<OrderId>, changes: Balances, at: Timestamp) -> Self {
        let Balances { on_hand, available, held, sold_unshipped } = changes;
        Self { sku: sku.clone(), kind, order_id, on_hand, available, held, sold_unshipped, at }
    }
}

/// Changes of the four balances.
#[derive(Clone, Copy, Debug, Default)]
struct Balances {
    on_hand: i64,
    available: i64,
    held: i64,
    sold_unshipped: i64,
}

// === impl MovementKind ===

impl MovementKind {
    /// The name in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adjust => "ADJUST",
            Self::Hold => "HOLD",
            Self::Confirm => "CONFIRM",
            Self::Release => "RELEASE",
            Self::Expire => "EXPIRE",
        }
    }
}
