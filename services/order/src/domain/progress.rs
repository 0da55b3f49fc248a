//! What fulfilment's news mean for an order.

use super::{Move, Role};

/// How far an order's shipments have come, by the one that is least advanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The warehouses are at all of them.
    Dispatched,
    /// All are with a carrier.
    HandedOver,
    /// All have arrived.
    Delivered,
}

/// The moves that shipments cause, in their order. The warehouses' work is fulfilment's own news; where a parcel is, is
/// the carrier's.
const PATH: [(Move, Role); 3] =
    [(Move::Fulfil, Role::System), (Move::Ship, Role::Carrier), (Move::Deliver, Role::Carrier)];

// === impl Progress ===

impl Progress {
    /// The moves by which an order catches up, from the first. Those that it has made already are illegal by then and
    /// are passed over, so that a piece of news which could not be used is made good by the next one.
    pub fn path(self) -> &'static [(Move, Role)] {
        match self {
            Self::Dispatched => &PATH[..1],
            Self::HandedOver => &PATH[..2],
            Self::Delivered => &PATH,
        }
    }

    /// How fulfilment writes it; `None` for what moves no order.
    pub fn from_order_state(name: &str) -> Option<Self> {
        match name {
            "DISPATCHED" => Some(Self::Dispatched),
            "HANDED_OVER" => Some(Self::HandedOver),
            "DELIVERED" => Some(Self::Delivered),
            _ => None,
        }
    }
}
