//! The words every part of Spillway shares: identifiers, money, quantities, time, and the one table of error reasons.
//!
//! Nothing here does I/O or knows of gRPC, SQL or a runtime.
//!
//! | module | holds |
//! |---|---|
//! | [`id`] | UUID newtypes, the order id with its slot and partition |
//! | [`name`] | validated strings: SKU, buyer, tenant, warehouse, coupon |
//! | [`money`] | amounts in minor units of an ISO 4217 currency |
//! | [`time`] | [`Timestamp`] and the [`Clock`] that mints it |
//! | [`fingerprint`] | telling a repeat from a reused key |
//! | [`fault`] | [`Fault`]: an error as a caller sees it, [`Reason`] and its table |
#![warn(missing_docs)]

pub mod fault;
pub mod fingerprint;
pub mod id;
pub mod money;
pub mod name;
pub mod time;

pub use fault::{Class, Code, Fault, Reason, Violations};
pub use fingerprint::Fingerprint;
pub use id::{EventId, OrderId, RequestId, ShipmentId};
pub use money::{Currency, Money};
pub use name::{BuyerId, CouponCode, Sku, TenantId, WarehouseId};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
