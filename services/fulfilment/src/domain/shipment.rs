//! One parcel of an order, from one warehouse.

use serde::{Deserialize, Serialize};
use spillway_types::{OrderId, RequestId, ShipmentId, Sku, Timestamp, WarehouseId};

use super::Day;

/// Where a shipment stands.
///
/// ```text
///   PLANNED ─► DISPATCHED ─► HANDED_OVER ─► DELIVERED ─► RECEIVED
///      │           │  └───────────┼─► LOST                  ▲
///      ▼           ▼              └─────────────────────────┘
///   CANCELLED  CANCELLED       (carriers report out of order: DISPATCHED may go to any state behind it)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ShipmentState {
    /// Planned; the warehouse has not begun.
    Planned,
    /// The warehouse is at it.
    Dispatched,
    /// With the carrier.
    HandedOver,
    /// With the buyer.
    Delivered,
    /// Given up before a carrier had it. Final.
    Cancelled,
    /// The carrier has lost it. Final.
    Lost,
    /// Back in the warehouse. Final.
    Received,
}

/// What a carrier reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CarrierEvent {
    /// Taken over from the warehouse.
    PickedUp,
    /// On its way, so it must have been taken over.
    InTransit,
    /// Arrived at the buyer.
    Delivered,
    /// Lost.
    Lost,
    /// Back in the warehouse.
    Returned,
}

/// What happens to a shipment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShipmentEvent {
    /// The order is given up.
    Cancel,
    /// The warehouse shall begin.
    Dispatch,
    /// A carrier says so.
    Carrier(CarrierEvent),
}

/// What an event does to a shipment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on to this state.
    Moves(ShipmentState),
    /// The event is true, but late: nothing changes.
    Stays,
    /// The event cannot be true of a shipment in this state.
    Illegal,
}

/// A shipment's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// Derived from the order's id, so that planning again names the same parcels.
    pub shipment_id: ShipmentId,
    /// Whose parcel.
    pub order_id: OrderId,
    /// Where it leaves from.
    pub warehouse_id: WarehouseId,
    /// What is in it, in SKU order.
    pub lines: Vec<(Sku, u32)>,
    /// Where it stands.
    pub state: ShipmentState,
    /// The day whose capacity it takes.
    pub day: Day,
    /// When it shall be with the buyer.
    pub promised_at: Timestamp,
    /// The carrier's number for it; empty until the carrier gave one.
    pub tracking: String,
    /// Raised by every change.
    pub version: i64,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A line of the append-only journal of what carriers have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarrierReport {
    /// Whose parcel.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// The report's own key.
    pub request_id: RequestId,
    /// What was reported.
    pub event: CarrierEvent,
    /// When it happened, by the carrier's clock.
    pub occurred_at: Timestamp,
    /// The carrier's number, if the report had one.
    pub tracking: Option<String>,
    /// When we heard of it.
    pub at: Timestamp,
}

// === impl ShipmentState ===

impl ShipmentState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Planned,
        Self::Dispatched,
        Self::HandedOver,
        Self::Delivered,
        Self::Cancelled,
        Self::Lost,
        Self::Received,
    ];

    /// What `event` does to a shipment that stands here. Total: every pair has an answer, used by all writers.
    pub const fn next(self, event: ShipmentEvent) -> Step {
        match event {
            ShipmentEvent::Cancel => match self {
                // ## Planned, Dispatched => Cancelled: the parcel is still in the house, so the recall wins.
                Self::Planned | Self::Dispatched => Step::Moves(Self::Cancelled),
                Self::HandedOver | Self::Delivered | Self::Cancelled | Self::Lost | Self::Received => Step::Stays,
            },
            ShipmentEvent::Dispatch => match self {
                // ## Planned => Dispatched
                Self::Planned => Step::Moves(Self::Dispatched),
                Self::Dispatched | Self::HandedOver | Self::Delivered | Self::Lost | Self::Received => Step::Stays,
                Self::Cancelled => Step::Illegal,
            },
            ShipmentEvent::Carrier(report) => match self {
                // Nobody can have handed over what was never sent off.
                Self::Planned | Self::Cancelled => Step::Illegal,
                Self::Dispatched | Self::HandedOver | Self::Delivered => self.reported(report),
                Self::Lost | Self::Received => Step::Stays,
            },
        }
    }

    const fn reported(self, report: CarrierEvent) -> Step {
        match (report, self) {
            // ## Dispatched => HandedOver
            (CarrierEvent::PickedUp | CarrierEvent::InTransit, Self::Dispatched) => Step::Moves(Self::HandedOver),
            // ## Dispatched, HandedOver => Delivered, Lost: a report that overtook the pick-up implies it.
            (CarrierEvent::Delivered, Self::Dispatched | Self::HandedOver) => Step::Moves(Self::Delivered),
            (CarrierEvent::Lost, Self::Dispatched | Self::HandedOver) => Step::Moves(Self::Lost),
            // ## Dispatched, HandedOver, Delivered => Received
            (CarrierEvent::Returned, _) => Step::Moves(Self::Received),
            (CarrierEvent::PickedUp | CarrierEvent::InTransit | CarrierEvent::Delivered | CarrierEvent::Lost, _) => {
                Step::Stays
            }
        }
    }

    /// Whether a carrier has or had it: too late to cancel.
    pub const fn is_past_hand_over(self) -> bool {
        match self {
            Self::HandedOver | Self::Delivered | Self::Lost | Self::Received => true,
            Self::Planned | Self::Dispatched | Self::Cancelled => false,
        }
    }

    /// The name in the database and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::Dispatched => "DISPATCHED",
            Self::HandedOver => "HANDED_OVER",
            Self::Delivered => "DELIVERED",
            Self::Cancelled => "CANCELLED",
            Self::Lost => "LOST",
            Self::Received => "RECEIVED",
        }
    }

    /// The state of a stored name.
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

// === impl CarrierEvent ===

impl CarrierEvent {
    /// The name in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PickedUp => "PICKED_UP",
            Self::InTransit => "IN_TRANSIT",
            Self::Delivered => "DELIVERED",
            Self::Lost => "LOST",
            Self::Returned => "RETURNED",
        }
    }
}

// === impl Shipment ===

impl Shipment {
    /// The same shipment, one transition on.
    #[must_use]
    pub fn becoming(&self, state: ShipmentState, now: Timestamp) -> Self {
        Self { state, version: self.version + 1, updated_at: now, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_effect_in_every_state() {
        use CarrierEvent::{Delivered as Arrived, InTransit, Lost as Gone, PickedUp, Returned};
        use ShipmentEvent::{Cancel, Carrier, Dispatch};
        use ShipmentState::{Cancelled, Delivered, Dispatched, HandedOver, Lost, Planned, Received};
        use Step::{Illegal, Moves, Stays};
        let events = [
            Cancel,
            Dispatch,
            Carrier(PickedUp),
            Carrier(InTransit),
            Carrier(Arrived),
            Carrier(Gone),
            Carrier(Returned),
        ];
        let (over, home, back) = (Moves(HandedOver), Moves(Delivered), Moves(Received));
        #[rustfmt::skip]
        let table = [
            (Planned,    [Moves(Cancelled), Moves(Dispatched), Illegal, Illegal, Illegal, Illegal,     Illegal]),
            (Dispatched, [Moves(Cancelled), Stays,             over,    over,    home,    Moves(Lost), back]),
            (HandedOver, [Stays,            Stays,             Stays,   Stays,   home,    Moves(Lost), back]),
            (Delivered,  [Stays,            Stays,             Stays,   Stays,   Stays,   Stays,       back]),
            (Cancelled,  [Stays,            Illegal,           Illegal, Illegal, Illegal, Illegal,     Illegal]),
            (Lost,       [Stays,            Stays,             Stays,   Stays,   Stays,   Stays,       Stays]),
            (Received,   [Stays,            Stays,             Stays,   Stays,   Stays,   Stays,       Stays]),
        ];
        assert_eq!(table.map(|row| row.0), ShipmentState::ALL, "every state has a row");
        for (state, effects) in table {
            for (event, effect) in events.into_iter().zip(effects) {
                assert_eq!(state.next(event), effect, "{state:?} on {event:?}");
            }
        }
    }

    #[test]
    fn an_event_that_comes_twice_changes_nothing_the_second_time() {
        let carrier = [
            CarrierEvent::PickedUp,
            CarrierEvent::InTransit,
            CarrierEvent::Delivered,
            CarrierEvent::Lost,
            CarrierEvent::Returned,
        ];
        let events = carrier.map(ShipmentEvent::Carrier).into_iter();
        for event in events.chain([ShipmentEvent::Cancel, ShipmentEvent::Dispatch]) {
            for state in ShipmentState::ALL {
                if let Step::Moves(next) = state.next(event) {
                    assert_eq!(next.next(event), Step::Stays, "{event:?} twice from {state:?}");
                }
            }
        }
    }

    #[test]
    fn stored_names_come_back() {
        for state in ShipmentState::ALL {
            assert_eq!(ShipmentState::from_stored(state.as_str()), Some(state));
        }
        assert_eq!(ShipmentState::from_stored("planned"), None);
    }
}
