//! Where the databases to be judged are.

use std::path::{Path, PathBuf};

use spillway_storage::{
    DataConfig,
    database::{DatabaseUrl, Schema},
};

use crate::config::Settings;

/// Where the services' databases are, whatever kind they are of.
#[derive(Clone, Debug)]
pub struct Places {
    pub(super) data: DataConfig,
    pub(super) all: Vec<Place>,
}

/// Where one database is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// What statements know it by.
    pub(super) schema: &'static str,
    /// Its tables.
    pub(super) tables: &'static Schema,
    pub(super) url: DatabaseUrl,
    /// A platform may do without it.
    pub(super) optional: bool,
}

/// What statements know the sandbox provider's database by; a platform with another provider has none.
pub(super) const SANDBOX: &str = "sandbox";

// === impl Places ===

impl Places {
    /// Where `settings` say.
    pub fn of(settings: &Settings) -> Self {
        let Settings { order, inventory, payment, fulfilment, orchestrator, .. } = settings;
        let place = |schema, tables, url: &DatabaseUrl| Place { schema, tables, url: url.clone(), optional: false };
        let sandbox = place(SANDBOX, &spillway_payment::SANDBOX_SCHEMA, &payment.sandbox_database());
        let all = vec![
            place("inventory", &spillway_inventory::store::SCHEMA, &inventory.database),
            place("orders", &spillway_order::store::SCHEMA, &order.database),
            place("payment", &spillway_payment::store::SCHEMA, &payment.database),
            place("fulfilment", &spillway_fulfilment::store::SCHEMA, &fulfilment.database),
            place("orchestrator", &spillway_orchestrator::store::SCHEMA, &orchestrator.database),
            Place { optional: true, ..sandbox },
        ];
        Self { data: settings.data.clone(), all }
    }

    /// The files of an embedded platform, in `data`.
    pub fn in_directory(data: &Path) -> Self {
        let place = |schema, tables| {
            let url = DatabaseUrl::Sqlite(PathBuf::new());
            Place { schema, tables, url, optional: schema == SANDBOX }
        };
        let all = vec![
            place("inventory", &spillway_inventory::store::SCHEMA),
            place("orders", &spillway_order::store::SCHEMA),
            place("payment", &spillway_payment::store::SCHEMA),
            place("fulfilment", &spillway_fulfilment::store::SCHEMA),
            place("orchestrator", &spillway_orchestrator::store::SCHEMA),
            place(SANDBOX, &spillway_payment::SANDBOX_SCHEMA),
        ];
        Self { data: DataConfig::in_directory(data), all }
    }

    /// Whether any of them is on a server.
    pub(super) fn any_served(&self) -> bool {
        self.all.iter().any(|place| matches!(place.url, DatabaseUrl::Postgres(_)))
    }
}
