//! An order as a buyer asks for it.

use serde::{Deserialize, Serialize};
use spillway_types::{BuyerId, CouponCode, Fingerprint, Money, OrderId, RequestId, Sku, TenantId, Timestamp};

/// How long an id counts as young: its order may still be on its way to being readable.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(30);

/// Everything that is needed to carry an order through; stored before the first step is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOrder {
    /// Whose shop.
    pub tenant: TenantId,
    /// Who buys.
    pub buyer_id: BuyerId,
    /// The buyer's key.
    pub request_id: RequestId,
    /// What, in SKU order; one entry a SKU.
    pub lines: Vec<(Sku, u32)>,
    /// What pays for the part that coupon and points leave over; may be empty.
    pub instrument: String,
    /// Points to spend.
    pub points: i64,
    /// Coupon to use.
    pub coupon_code: Option<CouponCode>,
    /// Where it goes.
    pub address: Address,
    /// What the buyer was shown; not compared when absent.
    pub expected_total: Option<Money>,
}

/// Where parcels go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who receives them.
    pub recipient: String,
    /// Decides which warehouses can serve it.
    pub region: String,
    /// Street, house, floor.
    pub lines: Vec<String>,
    /// Postal code.
    pub postal_code: String,
    /// Town.
    pub city: String,
}

// === impl NewOrder ===

impl NewOrder {
    /// The idempotency key with its scope: keys of different tenants and buyers never meet.
    pub fn key(&self) -> String {
        key(&self.tenant, &self.buyer_id, self.request_id)
    }

    /// What was asked for, to tell a repeat from a reused key.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self)
    }
}

/// The key of a buyer's request. None of its parts can hold a slash.
pub fn key(tenant: &TenantId, buyer: &BuyerId, request_id: RequestId) -> String {
    format!("{tenant}/{buyer}/{request_id}")
}

/// Whether an id was minted so recently that its order may not be readable yet.
pub fn is_young(order_id: OrderId, now: Timestamp) -> bool {
    now.saturating_since(order_id.minted_at()) < YOUNG
}
