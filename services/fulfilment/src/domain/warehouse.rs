//! A place that parcels leave from.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use spillway_types::{Sku, Timestamp, WarehouseId};

use super::{Coverage, Region};

/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// A UTC day, counted from 1970-01-01. Capacity is counted by the day on which a parcel was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i64);

/// A warehouse's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warehouse {
    /// Its name.
    pub warehouse_id: WarehouseId,
    /// Where it sends to.
    pub regions: BTreeSet<Coverage>,
    /// Which is asked first: the lower number.
    pub priority: i32,
    /// How many parcels it can send in a day; no limit when 0.
    pub capacity_per_day: u32,
    /// What it keeps; everything when empty.
    pub assortment: BTreeSet<Sku>,
    /// How many days a parcel from here takes.
    pub promised_days: u32,
    /// Whether it takes part in new plans.
    pub active: bool,
    /// Raised by every change.
    pub version: i64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

// === impl Day ===

impl Day {
    /// The day of a moment.
    pub const fn of(moment: Timestamp) -> Self {
        Self(moment.as_micros().div_euclid(DAY))
    }
}

// === impl Warehouse ===

impl Warehouse {
    /// Whether it sends to `region`.
    pub fn serves(&self, region: Region) -> bool {
        self.regions.iter().any(|coverage| coverage.includes(region))
    }

    /// Whether it has `sku` on its shelves.
    pub fn keeps(&self, sku: &Sku) -> bool {
        self.assortment.is_empty() || self.assortment.contains(sku)
    }

    /// How many parcels more it can send on a day that has `load` already; `u32::MAX` when it has no limit.
    pub const fn room(&self, load: u32) -> u32 {
        match self.capacity_per_day {
            0 => u32::MAX,
            capacity => capacity.saturating_sub(load),
        }
    }
}
