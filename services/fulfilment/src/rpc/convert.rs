//! The domain as messages, and the fields that several requests share.

use std::collections::BTreeSet;

use spillway_contracts::{
    convert::{self, to_lines, to_timestamp},
    fulfilment::v1 as pb,
};
use spillway_types::{Sku, Violations};

use crate::domain::{Coverage, PlanState, Planned, Shipment, ShipmentState, Warehouse};

/// Regions of one warehouse: `*`, `EU` and every country code there is are about 250.
const REGIONS_MAX: usize = 300;
/// SKUs in one warehouse's assortment: some 640 kB of the 1 MiB that a request may have.
const ASSORTMENT_MAX: usize = 10_000;
/// Days that a parcel may take; more is no promise.
const PROMISED_DAYS_MAX: u32 = 365;

pub(super) fn plan(planned: Planned) -> pb::ShipmentPlan {
    pb::ShipmentPlan {
        order_id: planned.plan.order_id.to_string(),
        state: plan_state(&planned).into(),
        explanation: planned.plan.explanation,
        shipments: planned.shipments.into_iter().map(shipment).collect(),
        // A plan with a line that nobody can send was refused, so there is none in a plan that stands.
        unfulfillable_lines: Vec::new(),
    }
}

/// Callers ask whether it is too late to cancel, which one parcel decides; the row says how far all of them have come.
/// A refused plan has nothing to send, like a cancelled one; who asks PlanShipments again hears why.
fn plan_state(planned: &Planned) -> pb::PlanState {
    match planned.plan.state {
        PlanState::Cancelled | PlanState::Refused => pb::PlanState::Cancelled,
        _ if planned.is_past_hand_over() => pb::PlanState::HandedOver,
        PlanState::Planned => pb::PlanState::Planned,
        PlanState::Dispatched | PlanState::HandedOver | PlanState::Delivered => pb::PlanState::Dispatched,
    }
}

pub(super) fn shipment(shipment: Shipment) -> pb::Shipment {
    pb::Shipment {
        shipment_id: shipment.shipment_id.to_string(),
        order_id: shipment.order_id.to_string(),
        warehouse_id: shipment.warehouse_id.into(),
        lines: to_lines(shipment.lines.iter().map(|(sku, quantity)| (sku, *quantity))),
        state: state(shipment.state).into(),
        promised_time: Some(to_timestamp(shipment.promised_at)),
        tracking: shipment.tracking,
        version: shipment.version,
        create_time: Some(to_timestamp(shipment.created_at)),
        update_time: Some(to_timestamp(shipment.updated_at)),
    }
}

const fn state(state: ShipmentState) -> pb::ShipmentState {
    match state {
        ShipmentState::Planned => pb::ShipmentState::Planned,
        ShipmentState::Dispatched => pb::ShipmentState::Dispatched,
        ShipmentState::HandedOver => pb::ShipmentState::HandedOver,
        ShipmentState::Delivered => pb::ShipmentState::Delivered,
        ShipmentState::Cancelled => pb::ShipmentState::Cancelled,
        ShipmentState::Lost => pb::ShipmentState::Lost,
        ShipmentState::Received => pb::ShipmentState::Received,
    }
}

/// The domain's state of a message's; none for a state that no shipment reaches yet.
pub(super) fn domain_state(wanted: pb::ShipmentState) -> Option<ShipmentState> {
    ShipmentState::ALL.into_iter().find(|known| state(*known) == wanted)
}

pub(super) fn warehouse(warehouse: Warehouse) -> pb::Warehouse {
    pb::Warehouse {
        warehouse_id: warehouse.warehouse_id.into(),
        regions: warehouse.regions.into_iter().map(String::from).collect(),
        priority: warehouse.priority,
        capacity_per_day: warehouse.capacity_per_day,
        assortment: warehouse.assortment.into_iter().map(String::from).collect(),
        promised_days: warehouse.promised_days,
        active: warehouse.active,
        version: warehouse.version,
    }
}

/// Where a warehouse sends to: at least one region.
pub(super) fn regions(texts: &[String], wrong: &mut Violations) -> Option<BTreeSet<Coverage>> {
    if texts.is_empty() {
        wrong.add("warehouse.regions", "must name at least one region; `*` is everywhere");
        return None;
    }
    named("warehouse.regions", texts, REGIONS_MAX, wrong, convert::parsed)
}

/// What a warehouse keeps; everything when empty.
pub(super) fn assortment(texts: &[String], wrong: &mut Violations) -> Option<BTreeSet<Sku>> {
    named("warehouse.assortment", texts, ASSORTMENT_MAX, wrong, convert::sku)
}

/// How many days a parcel takes.
pub(super) fn promised_days(days: u32, wrong: &mut Violations) -> Option<u32> {
    if days > PROMISED_DAYS_MAX {
        wrong.add("warehouse.promised_days", format!("must be at most {PROMISED_DAYS_MAX}, is {days}"));
        return None;
    }
    Some(days)
}

/// A set of names, each checked; a name that comes twice counts once.
fn named<T: Ord>(
    field: &str,
    texts: &[String],
    max: usize,
    wrong: &mut Violations,
    parse: impl Fn(&str, &str, &mut Violations) -> Option<T>,
) -> Option<BTreeSet<T>> {
    if texts.len() > max {
        wrong.add(field, format!("must be at most {max}, has {}", texts.len()));
        return None;
    }
    let numbered = texts.iter().enumerate();
    let parsed: Vec<Option<T>> =
        numbered.map(|(index, text)| parse(&format!("{field}[{index}]"), text, wrong)).collect();
    parsed.into_iter().collect()
}
