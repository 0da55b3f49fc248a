//! The parcels of one order, all together.

use serde::{Deserialize, Serialize};
use spillway_types::{Fault, Fingerprint, OrderId, ShipmentId, Timestamp};

use super::{Shipment, ShipmentState};

/// Where an order's parcels stand: the least advanced of those that still count.
///
/// ```text
///   (none) ─► PLANNED ─► DISPATCHED ─► HANDED_OVER ─► DELIVERED
///      │         └──────────┴─► CANCELLED
///      ├─► REFUSED    the recorded "no" to a plan
///      └─► CANCELLED  a tombstone: the cancellation came first
/// ```
///
/// The order of the variants is the order of advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PlanState {
    /// Planned; no warehouse has begun.
    Planned,
    /// The warehouses are at it.
    Dispatched,
    /// Every parcel is with a carrier.
    HandedOver,
    /// Every parcel is with the buyer.
    Delivered,
    /// Given up, or never to be.
    Cancelled,
    /// Refused for a reason that is repeated for ever.
    Refused,
}

/// A plan's row. It is also the idempotency record of the call that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whose plan, and the key of everything asked of it.
    pub order_id: OrderId,
    /// What was asked; none for a tombstone.
    pub fingerprint: Option<Fingerprint>,
    /// Where it stands.
    pub state: PlanState,
    /// How many parcels it has; 0 for a tombstone or a refusal.
    pub parcels: u16,
    /// Why it was split like this, for people.
    pub explanation: String,
    /// The recorded "no".
    pub refusal: Option<Fault>,
    /// Why it was given up; empty while it was not.
    pub cancel_reason: String,
    /// How many transitions of its parcels there were; 0 where there never was a parcel.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A plan and its parcels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its parcels, in the order in which they were planned.
    pub shipments: Vec<Shipment>,
}

/// A line of the append-only audit of a plan; each is also an event. Versions are 1, 2, 3 and so on without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanChange {
    /// Whose plan.
    pub order_id: OrderId,
    /// The plan's version after the change.
    pub version: i64,
    /// Where it stands after the change.
    pub state: PlanState,
    /// What made it change: `PLAN`, `CANCEL`, `DISPATCH`, or what a carrier reported.
    pub cause: &'static str,
    /// The reason given, or the parcel that it was about.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

// === impl PlanState ===

impl PlanState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Planned, Self::Dispatched, Self::HandedOver, Self::Delivered, Self::Cancelled, Self::Refused];

    /// Where an order stands whose parcels stand like this, when it has already come as far as `self`.
    ///
    /// A cancelled or returned parcel no longer counts; a lost one counts as handed over, so that an order with a lost
    /// parcel is never called delivered. What was said before is never taken back.
    #[must_use]
    pub fn advanced_by(self, parcels: impl IntoIterator<Item = ShipmentState>) -> Self {
        let counting = parcels.into_iter().filter_map(|parcel| match parcel {
            ShipmentState::Planned => Some(Self::Planned),
            ShipmentState::Dispatched => Some(Self::Dispatched),
            ShipmentState::HandedOver | ShipmentState::Lost => Some(Self::HandedOver),
            ShipmentState::Delivered => Some(Self::Delivered),
            ShipmentState::Cancelled | ShipmentState::Received => None,
        });
        // Parcels of a dispatched order that all came back have at least left the house.
        self.max(counting.min().unwrap_or(Self::HandedOver))
    }

    /// The name in the database and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::Dispatched => "DISPATCHED",
            Self::HandedOver => "HANDED_OVER",
            Self::Delivered => "DELIVERED",
            Self::Cancelled => "CANCELLED",
            Self::Refused => "REFUSED",
        }
    }

    /// The state of a stored name.
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

// === impl Plan ===

impl Plan {
    /// What stays behind when a cancellation comes first: the plan that comes later is refused.
    pub const fn tombstone(order_id: OrderId, cancel_reason: String, now: Timestamp) -> Self {
        Self {
            order_id,
            fingerprint: None,
            state: PlanState::Cancelled,
            parcels: 0,
            explanation: String::new(),
            refusal: None,
            cancel_reason,
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// The same plan, one transition on.
    #[must_use]
    pub fn becoming(&self, state: PlanState, now: Timestamp) -> Self {
        Self { state, version: self.version + 1, updated_at: now, ..self.clone() }
    }

    /// The ids of its parcels, in order.
    pub fn shipment_ids(&self) -> impl Iterator<Item = ShipmentId> + use<> {
        let order_id = self.order_id;
        (0..self.parcels).map(move |index| ShipmentId::of_order(order_id, index))
    }
}

// === impl Planned ===

impl Planned {
    /// Whether a carrier has or had one of the parcels: too late to cancel any.
    pub fn is_past_hand_over(&self) -> bool {
        self.shipments.iter().any(|shipment| shipment.state.is_past_hand_over())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_stands_where_its_slowest_parcel_stands() {
        use ShipmentState::{Cancelled, Delivered, Dispatched, HandedOver, Lost, Received};
        for (before, parcels, after) in [
            (PlanState::Dispatched, vec![HandedOver, Dispatched], PlanState::Dispatched),
            (PlanState::Dispatched, vec![HandedOver, Delivered], PlanState::HandedOver),
            (PlanState::HandedOver, vec![Delivered, Delivered], PlanState::Delivered),
            (PlanState::Dispatched, vec![Lost], PlanState::HandedOver),
            (PlanState::HandedOver, vec![Delivered, Lost], PlanState::HandedOver),
            (PlanState::HandedOver, vec![Delivered, Received], PlanState::Delivered),
            (PlanState::Dispatched, vec![Received], PlanState::HandedOver),
            (PlanState::Delivered, vec![Received], PlanState::Delivered),
            (PlanState::Dispatched, vec![Delivered, Cancelled], PlanState::Delivered),
        ] {
            assert_eq!(before.advanced_by(parcels.clone()), after, "{before:?} with {parcels:?}");
        }
    }

    #[test]
    fn stored_names_come_back() {
        for state in PlanState::ALL {
            assert_eq!(PlanState::from_stored(state.as_str()), Some(state));
        }
    }
}
