//! An order's row, and the entries of its audit trail.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spillway_types::{BuyerId, Fault, Fingerprint, OrderId, RequestId, TenantId, Timestamp};

use super::{Move, Price, Role, State};

/// How long after its minting an order may still be on its way: longer than any deadline of a PlaceOrder.
pub const YOUNG: Duration = Duration::from_secs(30);
/// When to look again for an order that is on its way.
pub const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// An order's row. It is also the idempotency record of the call that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id, and the key of everything asked of it.
    pub order_id: OrderId,
    /// Whose shop it was placed in.
    pub tenant_id: TenantId,
    /// Who bought; a tombstone may not know.
    pub buyer_id: Option<BuyerId>,
    /// What was bought; none for a tombstone.
    pub contents: Option<Contents>,
    /// Where it stands.
    pub state: State,
    /// How many moves it has made; 0 for a tombstone.
    pub version: i64,
    /// Why it was cancelled; empty in every other state.
    pub cancel_reason: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
}

/// What the saga stored an order with. Never changes (invariant I16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// What CreateOrder said.
    pub fingerprint: Fingerprint,
    /// What was bought at which price.
    pub price: Price,
    /// Where it goes.
    pub address: Address,
}

/// Where an order goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who receives it; may be empty.
    pub recipient: String,
    /// The region that decides which warehouses can serve it.
    pub region: String,
    /// The free lines of the label, topmost first.
    pub lines: Vec<String>,
    /// As the country writes it; may be empty.
    pub postal_code: String,
    /// Town or city; may be empty.
    pub city: String,
}

/// An entry of the audit trail: one move. Entries of an order are numbered 1, 2, 3, without a gap (invariant I15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub order_id: OrderId,
    /// The order's version after the move.
    pub version: i64,
    /// The move.
    pub step: Move,
    /// Where the order stood before; nowhere, for the first.
    pub from_state: Option<State>,
    /// Where it stands after.
    pub to_state: State,
    /// Who moved it.
    pub role: Role,
    /// Why; may be empty.
    pub reason: String,
    /// The call that asked for it; none when an event did.
    pub request_id: Option<RequestId>,
    /// When.
    pub at: Timestamp,
    /// Who bought.
    pub buyer_id: Option<BuyerId>,
}

// === impl Order ===

impl Order {
    /// What stays behind when a cancellation comes first: the order that comes later is refused.
    pub const fn tombstone(
        order_id: OrderId,
        tenant_id: TenantId,
        buyer_id: Option<BuyerId>,
        cancel_reason: String,
        now: Timestamp,
    ) -> Self {
        Self {
            order_id,
            tenant_id,
            buyer_id,
            contents: None,
            state: State::Cancelled,
            version: 0,
            cancel_reason,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether a cancellation came before the order.
    pub const fn is_tombstone(&self) -> bool {
        self.contents.is_none()
    }

    /// The same order, one move on.
    #[must_use]
    pub fn becoming(&self, state: State, reason: &str, now: Timestamp) -> Self {
        let cancel_reason = if state == State::Cancelled { reason.to_owned() } else { String::new() };
        Self { state, version: self.version + 1, cancel_reason, updated_at: now, ..self.clone() }
    }
}

/// How much longer an order of this id may be on its way; nothing for one that is old enough to be wrong, or that claims
/// to come from the future.
pub fn may_arrive_within(order_id: OrderId, now: Timestamp) -> Option<Duration> {
    let minted = order_id.minted_at();
    let ahead = minted.saturating_since(now);
    let left = minted.saturating_add(YOUNG).saturating_since(now);
    (ahead < YOUNG && !left.is_zero()).then_some(left)
}

/// There is no such order, and when to look again if it may be on its way.
pub fn unknown(order_id: OrderId, now: Timestamp) -> Fault {
    let fault = Fault::not_found("order", order_id);
    match may_arrive_within(order_id, now) {
        Some(_) => fault.with_retry_after(LOOK_AGAIN),
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    use spillway_types::id::Partition;

    use super::*;

    #[test]
    fn only_a_young_id_is_worth_waiting_for() {
        let minted = Timestamp::from_micros(1_795_219_199_000_000);
        let order_id = OrderId::mint(minted, &BuyerId::new("ada").unwrap(), Partition(0));
        let after = |millis| unknown(order_id, minted.saturating_add(Duration::from_millis(millis))).retry_after;
        assert_eq!((after(0), after(29_999), after(30_000)), (Some(LOOK_AGAIN), Some(LOOK_AGAIN), None));
        let before = |secs: i64| Timestamp::from_micros(minted.as_micros() - secs * 1_000_000);
        assert!(unknown(order_id, before(1)).retry_after.is_some(), "clocks of two machines differ a little");
        assert!(unknown(order_id, before(3_600)).retry_after.is_none(), "but not by an hour");
    }
}
