//! What can be asked of fulfilment, and what it answers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use spillway_types::{Fingerprint, OrderId, RequestId, ShipmentId, Sku, Timestamp, WarehouseId};

use super::{CarrierEvent, Coverage, Planned, Region, Shipment, Warehouse};

/// Something asked of fulfilment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens a warehouse.
    CreateWarehouse(Once<CreateWarehouse>),
    /// Changes a warehouse.
    UpdateWarehouse(Once<UpdateWarehouse>),
    /// Decides which warehouse sends what.
    Plan(PlanShipments),
    /// Gives a plan up.
    Cancel(CancelShipments),
    /// Tells the warehouses to begin.
    Dispatch(OrderId),
    /// Books what a carrier reports.
    Record(Once<RecordCarrierEvent>),
}

/// A command that is remembered by its caller's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once<T> {
    /// The caller's key.
    pub request_id: RequestId,
    /// What the command said.
    pub fingerprint: Fingerprint,
    /// The command.
    pub body: T,
}

/// Opens a warehouse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreateWarehouse {
    /// Its name.
    pub warehouse_id: WarehouseId,
    /// Where it sends to.
    pub regions: BTreeSet<Coverage>,
    /// Which is asked first: the lower number.
    pub priority: i32,
    /// How many parcels a day; no limit when 0.
    pub capacity_per_day: u32,
    /// What it keeps; everything when empty.
    pub assortment: BTreeSet<Sku>,
    /// How many days a parcel takes.
    pub promised_days: u32,
    /// Whether it takes part in new plans.
    pub active: bool,
}

/// Changes what a caller names and leaves the rest. Plans that stand are not touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpdateWarehouse {
    /// Which.
    pub warehouse_id: WarehouseId,
    /// Where it shall send to, if that changes.
    pub regions: Option<BTreeSet<Coverage>>,
    /// Its new priority, if that changes.
    pub priority: Option<i32>,
    /// Its new capacity, if that changes.
    pub capacity_per_day: Option<u32>,
    /// What it shall keep, if that changes.
    pub assortment: Option<BTreeSet<Sku>>,
    /// Its new days, if they change.
    pub promised_days: Option<u32>,
    /// Whether it shall take part, if that changes.
    pub active: Option<bool>,
}

/// Decides which warehouse sends what: every line or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanShipments {
    /// Whose plan.
    pub order_id: OrderId,
    /// Where it goes.
    pub region: Region,
    /// What, in SKU order; one entry a SKU.
    pub lines: Vec<(Sku, u32)>,
    /// What the command said.
    pub fingerprint: Fingerprint,
}

/// Gives a plan up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelShipments {
    /// Whose plan.
    pub order_id: OrderId,
    /// Why, for the audit's readers.
    pub reason: String,
}

/// Books what a carrier reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordCarrierEvent {
    /// About which parcel.
    pub shipment_id: ShipmentId,
    /// What happened.
    pub event: CarrierEvent,
    /// When, by the carrier's clock; when we hear of it, if the carrier does not say.
    pub occurred_at: Option<Timestamp>,
    /// The carrier's number, if the report has one.
    pub tracking: Option<String>,
}

/// What fulfilment answers when it does not refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The warehouse as it now is.
    Warehouse(Warehouse),
    /// The plan and its parcels as they now are.
    #[serde(skip)]
    Plan(Planned),
    /// The parcel as it now is.
    Shipment(Shipment),
}

// === impl Once ===

impl<T: Serialize> Once<T> {
    /// A command with its caller's key.
    pub fn new(request_id: RequestId, body: T) -> Self {
        Self { request_id, fingerprint: Fingerprint::of(&body), body }
    }
}

// === impl PlanShipments ===

impl PlanShipments {
    /// A plan for `lines`, which are sorted by SKU, one entry each.
    pub fn new(order_id: OrderId, region: Region, lines: Vec<(Sku, u32)>) -> Self {
        let fingerprint = Fingerprint::of(&(order_id, region, &lines));
        Self { order_id, region, lines, fingerprint }
    }
}
