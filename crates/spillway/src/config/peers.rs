//! Where the command finds the services of a platform that runs already.

use std::net::SocketAddr;

use serde::Deserialize;

use super::Settings;

/// Addresses of each service's replicas: `http://host:port`, or several with commas between.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Checkout and sagas.
    pub orchestrator: String,
    /// Orders.
    pub order: String,
    /// Stock.
    pub inventory: String,
    /// Payments and wallets.
    pub payment: String,
    /// Shipments and warehouses.
    pub fulfilment: String,
    /// The listeners for operators, of every process.
    pub admin: String,
}

// === impl Peers ===

impl Peers {
    pub(super) fn validate(&self, path: &str, errors: &mut Vec<String>) {
        for (name, addresses) in self.named().into_iter().chain([("admin", self.admin.as_str())]) {
            if !addresses.is_empty()
                && let Err(error) = addresses.parse::<spillway_middleware::Peers>()
            {
                errors.push(format!("{path}.{name}: {error}"));
            }
        }
    }

    /// The addresses of services with what they are of.
    pub fn named(&self) -> [(&'static str, &str); 5] {
        [
            ("orchestrator", &self.orchestrator),
            ("order", &self.order),
            ("inventory", &self.inventory),
            ("payment", &self.payment),
            ("fulfilment", &self.fulfilment),
        ]
    }
}

// === impl Settings ===

impl Settings {
    /// Where each service is: as `[peers]` says, else where it listens by this document.
    pub fn places(&self) -> Peers {
        let place = |peers: &String, listen: SocketAddr| match peers.as_str() {
            "" => format!("http://{listen}"),
            _ => peers.clone(),
        };
        Peers {
            orchestrator: place(&self.peers.orchestrator, self.orchestrator.listen),
            order: place(&self.peers.order, self.order.listen),
            inventory: place(&self.peers.inventory, self.inventory.listen),
            payment: place(&self.peers.payment, self.payment.listen),
            fulfilment: place(&self.peers.fulfilment, self.fulfilment.listen),
            admin: match (self.peers.admin.as_str(), self.admin.listen.get()) {
                ("", Some(listen)) => format!("http://{listen}"),
                _ => self.peers.admin.clone(),
            },
        }
    }

    /// How it keeps its data, in a word for people: replicas need databases that they can share.
    pub fn mode(&self) -> &'static str {
        use spillway_storage::database::DatabaseUrl::Postgres;
        let databases = [
            &self.order.database,
            &self.inventory.database,
            &self.payment.database,
            &self.fulfilment.database,
            &self.orchestrator.database,
        ];
        let shared = databases.iter().filter(|database| matches!(database, Postgres(_))).count();
        match (shared, databases.len()) {
            (0, _) => "embedded",
            (shared, all) if shared == all => "distributed",
            _ => "partly distributed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(set: &[(&str, &str)]) -> Result<Settings, String> {
        let set: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::load(None, &set).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_service_is_where_it_listens_unless_somebody_says_otherwise() {
        let several = "http://10.0.0.1:7401,http://10.0.0.2:7401";
        let settings = load(&[("peers.order", several), ("inventory.listen", "127.0.0.1:9001")]).unwrap();
        let places = settings.places();
        assert_eq!((places.order.as_str(), places.inventory.as_str()), (several, "http://127.0.0.1:9001"));
        let wrong = load(&[("peers.order", "10.0.0.1:7401")]).unwrap_err();
        assert!(wrong.contains("peers.order"), "{wrong}");
    }

    #[test]
    fn the_mode_is_what_the_databases_make_it() {
        let postgres = "postgres://shop@db/shop";
        let services = ["order", "inventory", "payment", "fulfilment", "orchestrator"];
        let keys = services.map(|service| format!("{service}.database"));
        let all: Vec<_> = keys.iter().map(|key| (key.as_str(), postgres)).collect();
        assert_eq!(load(&[]).unwrap().mode(), "embedded");
        assert_eq!(load(&all[..2]).unwrap().mode(), "partly distributed");
        assert_eq!(load(&all).unwrap().mode(), "distributed");
    }

    #[test]
    fn a_file_can_say_it_as_well() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[peers]\norchestrator = \"http://a:1,http://b:2\"").unwrap();
        let settings = Settings::load(Some(file.path()), &[]).unwrap();
        assert_eq!(settings.places().orchestrator, "http://a:1,http://b:2");
    }
}
