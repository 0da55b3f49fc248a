//! What the suites share: a place for the service's state, on each backend.

use std::fmt;

use serde::Deserialize;
use spillway_runtime::config::{Validate, load};
use spillway_storage::{Resources, database::DatabaseUrl, postgres};
use spillway_testkit::servers;
use tempfile::TempDir;

use crate::{Config, config::DEFAULTS};

/// Where state can be kept. What opens it again finds what was there.
pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) resources: Resources,
    _directory: TempDir,
}

#[derive(Debug, Deserialize)]
struct Settings {
    payment: Config,
}

/// The settings with some of them changed, or everything that is wrong with them.
pub(crate) fn configured(overrides: &[(&str, &str)]) -> Result<Config, String> {
    let overrides: Vec<_> = overrides.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    let settings = load::<Settings>(DEFAULTS, None, std::iter::empty(), &overrides);
    settings.map(|settings| settings.payment).map_err(|error| error.to_string())
}

impl Validate for Settings {
    fn validate(&self, errors: &mut Vec<String>) {
        self.payment.validate("payment", errors);
    }
}

// === impl Place ===

impl Place {
    /// A new place of each kind.
    pub(crate) async fn both(name: &str) -> [Self; 2] {
        [Self::at("sqlite:"), Self::postgres(name).await]
    }

    /// A new database, which replicas may share.
    pub(crate) async fn postgres(name: &str) -> Self {
        Self::at(&servers::postgres().await.fresh(&format!("payment {name}")).await)
    }

    fn at(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = configured(&[("payment.database", url)]).unwrap();
        let place = Self { config, resources: Resources::in_directory(directory.path()), _directory: directory };
        // Shown when the test fails.
        eprintln!("{place:?}");
        place
    }

    /// The database server's side of it.
    pub(crate) async fn server(&self) -> postgres::Database {
        let DatabaseUrl::Postgres(options) = &self.config.database else { panic!("{self:?} is no Postgres") };
        postgres::Database::open(options, &self.resources.data.postgres).await.unwrap()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {}", self.config.database)
    }
}
