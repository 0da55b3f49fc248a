//! The order machine: one table, keyed by where an order stands, the move and who makes it. Code asks [`next`] and
//! nothing else; whatever is not in the table is illegal.

use serde::{Deserialize, Serialize};

use Move::{
    AwaitPayment, Cancel, Complete, Create, Deliver, Fulfil, Pay, Refund, Return, Ship, StartRefund, StartReturn,
};
use State::{
    AwaitingPayment, Cancelled, Completed, Delivered, Fulfilling, Paid, Pending, Refunded, Refunding, Returned,
    Returning, Shipped,
};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Stock is reserved, payment is being arranged.
    Pending,
    /// The buyer has to pay.
    AwaitingPayment,
    /// The money is captured, the stock is sold.
    Paid,
    /// The warehouses are at it.
    Fulfilling,
    /// Every shipment has left.
    Shipped,
    /// Every shipment has arrived.
    Delivered,
    /// The time for returns is over.
    Completed,
    /// Ended before it was paid.
    Cancelled,
    /// Money is on its way back.
    Refunding,
    /// All money is back.
    Refunded,
    /// Goods are on their way back.
    Returning,
    /// Goods are back.
    Returned,
}

/// What moves an order. The machine has no circles, so an order makes each move once at most: a move is its own
/// idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Move {
    /// It is stored.
    #[serde(rename = "order.created")]
    Create,
    /// The buyer is asked to pay.
    #[serde(rename = "order.awaiting_payment")]
    AwaitPayment,
    /// The money was captured.
    #[serde(rename = "order.paid")]
    Pay,
    /// The saga turned back.
    #[serde(rename = "order.cancelled")]
    Cancel,
    /// The warehouses began.
    #[serde(rename = "order.fulfilling")]
    Fulfil,
    /// The last shipment left.
    #[serde(rename = "order.shipped")]
    Ship,
    /// The last shipment arrived.
    #[serde(rename = "order.delivered")]
    Deliver,
    /// The time for returns ran out.
    #[serde(rename = "order.completed")]
    Complete,
    /// The money is to be given back.
    #[serde(rename = "order.refunding")]
    StartRefund,
    /// The money was given back.
    #[serde(rename = "order.refunded")]
    Refund,
    /// The goods are to come back.
    #[serde(rename = "order.returning")]
    StartReturn,
    /// The goods came back.
    #[serde(rename = "order.returned")]
    Return,
}

/// Who moves an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// The saga that drives it.
    Saga,
    /// Who bought it.
    Buyer,
    /// A person who runs the platform.
    Operator,
    /// A carrier, whose reports come through fulfilment.
    Carrier,
    /// A worker of the platform: a timer, or fulfilment's own news.
    System,
}

/// A legal move.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// Where the order stands before; nowhere, for the first move.
    pub from: Option<State>,
    /// The move.
    pub step: Move,
    /// Who may make it.
    pub by: &'static [Role],
    /// Where it stands after.
    pub to: State,
}

const SAGA: &[Role] = &[Role::Saga];
/// A saga turns back of its own accord, or because a buyer, an operator or a timer said so; the call names that one.
const WHO_CAN_TURN_BACK: &[Role] = &[Role::Saga, Role::Buyer, Role::Operator, Role::System];
/// Parcels are reported by carriers; operators mend what a carrier forgot to report.
const WHO_SEES_PARCELS: &[Role] = &[Role::Carrier, Role::Operator];
const WHO_SEES_WAREHOUSES: &[Role] = &[Role::Saga, Role::Operator, Role::System];
const WHO_ENDS: &[Role] = &[Role::Operator, Role::System];

/// Every legal move. Whatever has no row here is illegal, and a state that no row leaves is final.
pub const TABLE: [Edge; 16] = [
    // ## nothing => (Pending)
    Edge { from: None, step: Create, by: SAGA, to: Pending },
    // ## Pending => (AwaitingPayment, Paid, Cancelled)
    // Straight to Paid when the provider took the money at once.
    Edge { from: Some(Pending), step: AwaitPayment, by: SAGA, to: AwaitingPayment },
    Edge { from: Some(Pending), step: Pay, by: SAGA, to: Paid },
    Edge { from: Some(Pending), step: Cancel, by: WHO_CAN_TURN_BACK, to: Cancelled },
    // ## AwaitingPayment => (Paid, Cancelled)
    Edge { from: Some(AwaitingPayment), step: Pay, by: SAGA, to: Paid },
    Edge { from: Some(AwaitingPayment), step: Cancel, by: WHO_CAN_TURN_BACK, to: Cancelled },
    // ## Paid => (Fulfilling, Refunding)
    // Never Cancelled: the money is captured, so there is something to give back.
    Edge { from: Some(Paid), step: Fulfil, by: WHO_SEES_WAREHOUSES, to: Fulfilling },
    Edge { from: Some(Paid), step: StartRefund, by: SAGA, to: Refunding },
    // ## Fulfilling => (Shipped, Refunding)
    Edge { from: Some(Fulfilling), step: Ship, by: WHO_SEES_PARCELS, to: Shipped },
    Edge { from: Some(Fulfilling), step: StartRefund, by: SAGA, to: Refunding },
    // ## Shipped => (Delivered, Returning)
    Edge { from: Some(Shipped), step: Deliver, by: WHO_SEES_PARCELS, to: Delivered },
    Edge { from: Some(Shipped), step: StartReturn, by: SAGA, to: Returning },
    // ## Delivered => (Completed, Returning)
    Edge { from: Some(Delivered), step: Complete, by: WHO_ENDS, to: Completed },
    Edge { from: Some(Delivered), step: StartReturn, by: SAGA, to: Returning },
    // ## Refunding => (Refunded)
    Edge { from: Some(Refunding), step: Refund, by: SAGA, to: Refunded },
    // ## Returning => (Returned)
    Edge { from: Some(Returning), step: Return, by: SAGA, to: Returned },
];

/// Where an order stands after a move, if the move is legal.
pub fn next(from: Option<State>, step: Move, role: Role) -> Option<State> {
    let legal = |edge: &&Edge| edge.from == from && edge.step == step && edge.by.contains(&role);
    TABLE.iter().find(legal).map(|edge| edge.to)
}

// === impl State ===

impl State {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Pending,
        AwaitingPayment,
        Paid,
        Fulfilling,
        Shipped,
        Delivered,
        Completed,
        Cancelled,
        Refunding,
        Refunded,
        Returning,
        Returned,
    ];

    /// Whether nothing more can happen.
    pub fn is_final(self) -> bool {
        TABLE.iter().all(|edge| edge.from != Some(self))
    }

    /// The name in the database and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pending => "PENDING",
            AwaitingPayment => "AWAITING_PAYMENT",
            Paid => "PAID",
            Fulfilling => "FULFILLING",
            Shipped => "SHIPPED",
            Delivered => "DELIVERED",
            Completed => "COMPLETED",
            Cancelled => "CANCELLED",
            Refunding => "REFUNDING",
            Refunded => "REFUNDED",
            Returning => "RETURNING",
            Returned => "RETURNED",
        }
    }

    /// The state of a stored name.
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

// === impl Move ===

impl Move {
    /// Every move.
    pub const ALL: [Self; 12] =
        [Create, AwaitPayment, Pay, Cancel, Fulfil, Ship, Deliver, Complete, StartRefund, Refund, StartReturn, Return];

    /// The move that leads to `state`. Each state is reached by one.
    pub const fn towards(state: State) -> Self {
        match state {
            Pending => Create,
            AwaitingPayment => AwaitPayment,
            Paid => Pay,
            Cancelled => Cancel,
            Fulfilling => Fulfil,
            Shipped => Ship,
            Delivered => Deliver,
            Completed => Complete,
            Refunding => StartRefund,
            Refunded => Refund,
            Returning => StartReturn,
            Returned => Return,
        }
    }

    /// Whether `role` may ever make this move.
    pub fn is_for(self, role: Role) -> bool {
        TABLE.iter().any(|edge| edge.step == self && edge.by.contains(&role))
    }

    /// The name in the database and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Create => "order.created",
            AwaitPayment => "order.awaiting_payment",
            Pay => "order.paid",
            Cancel => "order.cancelled",
            Fulfil => "order.fulfilling",
            Ship => "order.shipped",
            Deliver => "order.delivered",
            Complete => "order.completed",
            StartRefund => "order.refunding",
            Refund => "order.refunded",
            StartReturn => "order.returning",
            Return => "order.returned",
        }
    }

    /// The move of a stored name.
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == name)
    }
}

// === impl Role ===

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Saga, Self::Buyer, Self::Operator, Self::Carrier, Self::System];

    /// The name in the database and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Saga => "SAGA",
            Self::Buyer => "BUYER",
            Self::Operator => "OPERATOR",
            Self::Carrier => "CARRIER",
            Self::System => "SYSTEM",
        }
    }

    /// The role of a stored name.
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

#[cfg(test)]
mod tests;
