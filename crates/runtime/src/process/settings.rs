//! The settings of a service's process: what every process has, and one table of the service's own.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor},
};
use spillway_middleware::ClientConfig;
use spillway_storage::DataConfig;

use crate::{AdminConfig, ServerConfig, TelemetryConfig, config::Validate};

/// Tables that every process has.
const SHARED: [&str; 5] = ["telemetry", "admin", "data", "server", "client"];

/// A service's own table.
pub trait Section: DeserializeOwned {
    /// Its name, which is the process's name as well.
    const NAME: &'static str;
    /// The table with its defaults, as TOML.
    const DEFAULTS: &'static str;

    /// Adds a line to `errors` for each setting outside its guardrails; `path` is where the table is in the file.
    fn validate(&self, path: &str, errors: &mut Vec<String>);
}

/// What a service's process can be told.
#[derive(Debug)]
pub(super) struct Settings<C> {
    pub(super) telemetry: TelemetryConfig,
    pub(super) admin: AdminConfig,
    pub(super) data: DataConfig,
    pub(super) server: ServerConfig,
    pub(super) client: ClientConfig,
    pub(super) own: C,
}

struct Tables<C>(PhantomData<C>);

// === impl Settings ===

impl<C: Section> Validate for Settings<C> {
    fn validate(&self, errors: &mut Vec<String>) {
        self.telemetry.validate("telemetry", errors);
        self.data.validate("data", errors);
        self.server.validate("server", errors);
        self.client.validate("client", errors);
        self.own.validate(C::NAME, errors);
    }
}

impl<'de, C: Section> Deserialize<'de> for Settings<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Tables(PhantomData))
    }
}

// === impl Tables ===

impl<'de, C: Section> Visitor<'de> for Tables<C> {
    type Value = Settings<C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tables {} and {}", SHARED.join(", "), C::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings<C>, A::Error> {
        let (mut telemetry, mut admin, mut data, mut server, mut client, mut own) =
            (None, None, None, None, None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "telemetry" => telemetry = Some(map.next_value()?),
                "admin" => admin = Some(map.next_value()?),
                "data" => data = Some(map.next_value()?),
                "server" => server = Some(map.next_value()?),
                "client" => client = Some(map.next_value()?),
                name if name == C::NAME => own = Some(map.next_value()?),
                other => return Err(A::Error::custom(format!("unknown table {other}"))),
            }
        }
        Ok(Settings {
            telemetry: telemetry.ok_or_else(|| A::Error::missing_field("telemetry"))?,
            admin: admin.ok_or_else(|| A::Error::missing_field("admin"))?,
            data: data.ok_or_else(|| A::Error::missing_field("data"))?,
            server: server.ok_or_else(|| A::Error::missing_field("server"))?,
            client: client.ok_or_else(|| A::Error::missing_field("client"))?,
            own: own.ok_or_else(|| A::Error::missing_field(C::NAME))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ConfigErrors};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Mill {
        stones: u32,
    }

    impl Section for Mill {
        const NAME: &'static str = "mill";
        const DEFAULTS: &'static str = "[mill]\nstones = 2\n";

        fn validate(&self, path: &str, errors: &mut Vec<String>) {
            if self.stones == 0 {
                errors.push(format!("{path}.stones = 0: must be at least 1"));
            }
        }
    }

    fn load(overrides: &[(&str, &str)]) -> Result<Settings<Mill>, ConfigErrors> {
        let defaults = [config::DEFAULTS, spillway_storage::config::DEFAULTS, Mill::DEFAULTS].concat();
        let overrides: Vec<_> = overrides.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        config::load(&defaults, None, std::iter::empty(), &overrides)
    }

    #[test]
    fn a_process_has_the_shared_tables_and_one_of_its_own() {
        let settings = load(&[("mill.stones", "3"), ("admin.listen", "")]).unwrap();
        assert_eq!((settings.own.stones, settings.admin.listen.get()), (3, None));
        let wrong =
            [("mill.stones", "many"), ("mill.wheels", "4"), ("admin.listen", "nowhere"), ("server.drain_ms", "-1")];
        let errors = load(&wrong).unwrap_err().to_string();
        for (key, _) in wrong {
            assert!(errors.contains(key), "{key} is missing in: {errors}");
        }
        assert!(load(&[("mill.stones", "0")]).is_err(), "its guardrails count");
    }
}
