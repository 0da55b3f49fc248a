//! Which rows a batch needs.

use std::collections::BTreeSet;

use spillway_storage::idempotency;
use spillway_types::{OrderId, Sku};

use super::record_key;
use crate::domain::Command;

/// The keys of a batch's rows, in key order.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Items.
    pub(super) skus: BTreeSet<Sku>,
    /// Of these, the ones that Reserves want: lapsed promises of them are of use.
    pub(super) needed: BTreeSet<Sku>,
    /// Reservations.
    pub(super) orders: BTreeSet<OrderId>,
    /// Idempotency records.
    pub(super) records: Vec<idempotency::Key>,
    /// Whether any lapsed promise is wanted.
    pub(super) sweeps: bool,
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn by(commands: &[Command]) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            match command {
                Command::CreateItem(once) => wanted.once(&once.body.sku, record_key(command, once)),
                Command::UpdateItem(once) => wanted.once(&once.body.sku, record_key(command, once)),
                Command::AdjustStock(once) => wanted.once(&once.body.sku, record_key(command, once)),
                Command::Reserve(reserve) => {
                    wanted.orders.insert(reserve.order_id);
                    wanted.needed.extend(reserve.lines.iter().map(|(sku, _)| sku.clone()));
                }
                Command::Confirm(confirm) => drop(wanted.orders.insert(confirm.order_id)),
                Command::Pin(order_id) | Command::Release(order_id) => drop(wanted.orders.insert(*order_id)),
                Command::Expire => wanted.sweeps = true,
            }
        }
        wanted.skus.extend(wanted.needed.iter().cloned());
        wanted
    }

    fn once(&mut self, sku: &Sku, key: idempotency::Key) {
        self.skus.insert(sku.clone());
        self.records.push(key);
    }
}
