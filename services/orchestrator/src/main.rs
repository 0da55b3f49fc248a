//! The orchestrator as a process of its own.

use std::{error::Error, process::ExitCode};

use spillway_orchestrator::{Config, Links, Service};
use spillway_runtime::process::{self, Process, Task};

fn main() -> ExitCode {
    process::run(serve)
}

async fn serve(config: Config, process: Process) -> Result<(), Box<dyn Error>> {
    let Process { task, resources, server, client, policies, shutdown } = process;
    if task == Task::Migrate {
        return Ok(Service::migrate(&config, &resources).await?);
    }
    let listener = process::listen(config.listen)?;
    let links = Links::grpc(&config, &client, &policies)?;
    let service = Service::open(config, links, &resources).await?;
    Ok(service.serve(&server, &policies, listener, shutdown).await?)
}
