//! What can be asked of the ledger, and what it answers.

use serde::{Deserialize, Serialize};
use spillway_types::{BuyerId, Fingerprint, Money, OrderId, RequestId, Sku};

use super::{Hold, Item, Reservation};

/// Something asked of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Adds a SKU to the catalogue.
    CreateItem(Once<CreateItem>),
    /// Changes a SKU's title or price.
    UpdateItem(Once<UpdateItem>),
    /// Counts units in or out.
    AdjustStock(Once<AdjustStock>),
    /// Promises units to an order.
    Reserve(Reserve),
    /// Takes the time limit off a promise.
    Pin(OrderId),
    /// Sells what was promised, whole or in part.
    Confirm(Confirm),
    /// Takes a promise back.
    Release(OrderId),
    /// Takes back promises whose time is over.
    Expire,
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

/// Adds a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreateItem {
    /// What it is.
    pub sku: Sku,
    /// For people.
    pub title: String,
    /// Price of one unit.
    pub unit_price: Money,
    /// Units in the house at first.
    pub on_hand: i64,
}

/// Changes what a caller names and leaves the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpdateItem {
    /// Which.
    pub sku: Sku,
    /// The new title, if it changes.
    pub title: Option<String>,
    /// The new price, if it changes. Reservations keep the price they were made at.
    pub unit_price: Option<Money>,
}

/// Counts units in or, negative, out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdjustStock {
    /// Which.
    pub sku: Sku,
    /// By how many units.
    pub delta: i64,
    /// Why, for the journal's readers.
    pub reason: String,
}

/// Promises units to an order, all lines or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Whose promise.
    pub order_id: OrderId,
    /// Who buys.
    pub buyer_id: BuyerId,
    /// What, in SKU order; one entry a SKU.
    pub lines: Vec<(Sku, u32)>,
    /// For how long.
    pub hold: Hold,
    /// What the command said.
    pub fingerprint: Fingerprint,
}

/// Sells what was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// Whose promise.
    pub order_id: OrderId,
    /// How many of each SKU; SKUs that are absent count as zero. `None` sells everything.
    pub lines: Option<Vec<(Sku, u32)>>,
}

/// What the ledger answers when it does not refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The item as it now is.
    Item(Item),
    /// The reservation as it now is.
    #[serde(skip)]
    Reservation(Reservation),
    /// How many promises lapsed.
    #[serde(skip)]
    Expired(usize),
}
