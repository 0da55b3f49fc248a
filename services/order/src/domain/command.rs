//! What can be asked of an order, and what is answered.

use serde::Serialize;
use spillway_types::{BuyerId, EventId, Fingerprint, OrderId, RequestId, TenantId};

use super::{Address, Move, Order, Price, Progress, Role, State};

/// Something asked of orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stores a new order.
    Create(Create),
    /// Moves an order.
    Advance(Advance),
    /// Takes note of fulfilment's news, oldest first.
    Follow(Vec<News>),
}

/// Stores a new order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The id it shall carry.
    pub order_id: OrderId,
    /// Whose shop.
    pub tenant_id: TenantId,
    /// Who buys.
    pub buyer_id: BuyerId,
    /// What, at which price.
    pub price: Price,
    /// Where it goes.
    pub address: Address,
    /// What the command said.
    pub fingerprint: Fingerprint,
    /// The caller's key, for the audit trail. The order's id is what makes the call idempotent.
    pub request_id: RequestId,
}

/// Moves an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Which.
    pub order_id: OrderId,
    /// Whose shop.
    pub tenant_id: TenantId,
    /// Who bought, for a tombstone.
    pub buyer_id: Option<BuyerId>,
    /// How.
    pub step: Move,
    /// Only if the order's version is this one.
    pub expected_version: Option<i64>,
    /// Why; may be empty.
    pub reason: String,
    /// On whose behalf.
    pub role: Role,
    /// The caller's key.
    pub request_id: RequestId,
}

/// A piece of news about an order's shipments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The event that brought it.
    pub event_id: EventId,
    /// Whose shipments.
    pub order_id: OrderId,
    /// How far they have come.
    pub progress: Progress,
}

/// What is answered when nothing is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The order as it now is.
    Order(Box<Order>),
    /// The news that no order could use, with the state that it found; `None` where there is no order.
    Followed(Vec<(News, Option<State>)>),
}

/// What the fingerprint of a Create covers: all that it asks for, and not the caller's key.
#[derive(Debug, Serialize)]
struct Normal<'a> {
    order_id: OrderId,
    tenant_id: &'a TenantId,
    buyer_id: &'a BuyerId,
    price: &'a Price,
    address: &'a Address,
}

// === impl Create ===

impl Create {
    /// A command with its fingerprint.
    pub fn new(
        (order_id, request_id): (OrderId, RequestId),
        tenant_id: TenantId,
        buyer_id: BuyerId,
        price: Price,
        address: Address,
    ) -> Self {
        let normal = Normal { order_id, tenant_id: &tenant_id, buyer_id: &buyer_id, price: &price, address: &address };
        let fingerprint = Fingerprint::of(&normal);
        Self { order_id, tenant_id, buyer_id, price, address, fingerprint, request_id }
    }
}
