//! The orchestrator as a process of its own.

use std::{error::Error, process::ExitCode, sync::Arc};

use serde::Deserialize;
use spillway_middleware::ClientConfig;
use spillway_orchestrator::{Config, Links, Service, config::DEFAULTS};
use spillway_runtime::{ServerConfig, TelemetryConfig, config::Validate, policies, process, process::DataConfig};
use spillway_types::SystemClock;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
struct Settings {
    telemetry: TelemetryConfig,
    data: DataConfig,
    server: ServerConfig,
    client: ClientConfig,
    orchestrator: Config,
}

impl Validate for Settings {
    fn validate(&self, errors: &mut Vec<String>) {
        self.telemetry.validate("telemetry", errors);
        self.server.validate("server", errors);
        self.client.validate("client", errors);
        self.orchestrator.validate("orchestrator", errors);
    }
}

fn main() -> ExitCode {
    process::run("orchestrator", DEFAULTS, |settings: &Settings| &settings.telemetry, serve)
}

async fn serve(settings: Settings, shutdown: CancellationToken) -> Result<(), Box<dyn Error>> {
    let (policies, config) = (policies(), settings.orchestrator);
    let listener = process::listen(config.listen, &settings.data)?;
    let links = Links::grpc(&config, &settings.client, &policies)?;
    let service = Service::open(config, &settings.data.dir, links, Arc::new(SystemClock));
    Ok(service.await?.serve(&settings.server, &policies, listener, shutdown).await?)
}
