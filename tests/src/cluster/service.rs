//! The five services, by name.

use std::str::FromStr;

/// A service of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Checkout and sagas.
    Orchestrator,
    /// Orders.
    Order,
    /// Stock.
    Inventory,
    /// Payments and wallets.
    Payment,
    /// Shipments and warehouses.
    Fulfilment,
}

// === impl Service ===

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Orchestrator, Self::Order, Self::Inventory, Self::Payment, Self::Fulfilment];

    /// Its binary, its table of settings, and its package in the protos.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Order => "order",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Fulfilment => "fulfilment",
        }
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|service| service.name() == name);
        found.ok_or_else(|| format!("there is no service {name}"))
    }
}
