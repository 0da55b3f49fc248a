//! What a batch of commands needs to be decided.

use std::collections::BTreeSet;

use spillway_storage::idempotency;
use spillway_types::{OrderId, ShipmentId, WarehouseId};

use super::record_key;
use crate::domain::Command;

/// The keys of the rows that a batch touches.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) orders: BTreeSet<OrderId>,
    /// Parcels whose order is not said.
    pub(super) parcels: BTreeSet<ShipmentId>,
    pub(super) warehouses: BTreeSet<WarehouseId>,
    /// Whether something is to be planned, for which every warehouse is asked.
    pub(super) plans: bool,
    pub(super) records: Vec<idempotency::Key>,
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn by(commands: &[Command]) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            match command {
                Command::CreateWarehouse(once) => {
                    wanted.warehouses.insert(once.body.warehouse_id.clone());
                    wanted.records.push(record_key(command, once));
                }
                Command::UpdateWarehouse(once) => {
                    wanted.warehouses.insert(once.body.warehouse_id.clone());
                    wanted.records.push(record_key(command, once));
                }
                Command::Plan(plan) => {
                    wanted.orders.insert(plan.order_id);
                    wanted.plans = true;
                }
                Command::Cancel(cancel) => drop(wanted.orders.insert(cancel.order_id)),
                Command::Dispatch(order_id) => drop(wanted.orders.insert(*order_id)),
                Command::Record(once) => {
                    wanted.parcels.insert(once.body.shipment_id);
                    wanted.records.push(record_key(command, once));
                }
            }
        }
        wanted
    }
}
