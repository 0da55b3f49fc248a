//! The inventory service as a process of its own.

use std::{error::Error, process::ExitCode, sync::Arc};

use serde::Deserialize;
use spillway_inventory::{Config, Service, config::DEFAULTS};
use spillway_middleware::ClientConfig;
use spillway_runtime::{ServerConfig, TelemetryConfig, config::Validate, policies, process, process::DataConfig};
use spillway_storage::bus::Unconnected;
use spillway_types::SystemClock;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
struct Settings {
    telemetry: TelemetryConfig,
    data: DataConfig,
    server: ServerConfig,
    client: ClientConfig,
    inventory: Config,
}

impl Validate for Settings {
    fn validate(&self, errors: &mut Vec<String>) {
        self.telemetry.validate("telemetry", errors);
        self.server.validate("server", errors);
        self.client.validate("client", errors);
        self.inventory.validate("inventory", errors);
    }
}

fn main() -> ExitCode {
    process::run("inventory", DEFAULTS, |settings: &Settings| &settings.telemetry, serve)
}

async fn serve(settings: Settings, shutdown: CancellationToken) -> Result<(), Box<dyn Error>> {
    let listener = process::listen(settings.inventory.listen, &settings.data)?;
    let service = Service::open(settings.inventory, &settings.data.dir, Arc::new(Unconnected), Arc::new(SystemClock));
    Ok(service.await?.serve(&settings.server, &policies(), listener, shutdown).await?)
}
