//! The commands: a file each, with its options, its call and how its answer looks.

pub mod dev;
pub(crate) mod events;
pub(crate) mod fulfilment;
pub(crate) mod order;
pub(crate) mod saga;
pub(crate) mod stock;
pub(crate) mod verify;
pub(crate) mod wallet;

use std::{ffi::OsString, process::ExitCode};

use clap::Args;
use spillway_runtime::telemetry;
use spillway_types::RequestId;

use crate::{
    cli::{self, Cli, Command, DemoArgs, Idle, values},
    client::Platform,
    commands::dev::DevError,
    config::{self, Settings},
    demo::{self, Plan},
    output::{Exit, Failure, Output},
    platform::PlatformError,
};

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    /// The way to the platform.
    pub(crate) platform: Platform,
    /// Where answers go.
    pub(crate) output: Output,
}

/// The key of a command that changes something.
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// Idempotency key, a UUID; minted when left away. The same command with the same key takes effect once
    #[arg(long, value_name = "UUID", value_parser = values::request_id)]
    request_id: Option<RequestId>,
}

/// How much of a list to read.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Limit {
    /// How many to list at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// Does what the command line `args` asks for, and gives the exit code of the process.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err((Idle::Wrong(why), output)) => return output.failure(&Failure::arguments(&why)).into(),
        Err((Idle::Help(help), output)) => {
            output.text(&help);
            return Exit::Done.into();
        }
    };
    let output = Output::new(cli.global.json);
    dispatch(cli, output).await.unwrap_or_else(|failure| output.failure(&failure)).into()
}

async fn dispatch(cli: Cli, output: Output) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    if matches!(command, Command::Config) {
        output.text(&config::defaults());
        return Ok(Exit::Done);
    }
    let settings = Settings::load(global.config.as_deref(), &global.overrides());
    let settings = settings.map_err(|errors| Failure::configuration(&errors))?;
    let context = |settings| Context { platform: Platform::new(settings, global.timeout), output };
    match command {
        Command::Config => {}
        Command::Dev(_) => {
            let _telemetry = logs(&settings)?;
            Box::pin(dev::run(settings)).await.map_err(|error| not_running(&error))?;
        }
        Command::Demo(args) => return demo(settings, &args).await,
        Command::Verify(_) => return verify::run(&settings, output).await,
        Command::Order(command) => order::run(command, &context(settings)).await?,
        Command::Stock(command) => stock::run(command, &context(settings)).await?,
        Command::Saga(command) => saga::run(command, &context(settings)).await?,
        Command::Events(command) => events::run(command, &context(settings)).await?,
        Command::Wallet(command) => wallet::run(command, &context(settings)).await?,
        Command::Warehouse(command) => fulfilment::warehouses(command, &context(settings)).await?,
        Command::Shipment(command) => fulfilment::shipments(command, &context(settings)).await?,
    }
    Ok(Exit::Done)
}

async fn demo(settings: Settings, args: &DemoArgs) -> Result<Exit, Failure> {
    let _telemetry = logs(&settings)?;
    let DemoArgs { buyers, stock, concurrency, exit, attach } = *args;
    let plan = Plan { buyers, stock, concurrency, exit };
    let good = if attach { demo::attach(&settings, plan).await } else { Box::pin(demo::run(settings, plan)).await };
    let good = good.map_err(|error| Failure::ours("the demo was not played to its end", &error))?;
    Ok(if good { Exit::Done } else { Exit::Refused })
}

fn not_running(error: &DevError) -> Failure {
    let failure = Failure::ours("the platform does not run", error);
    match error {
        DevError::Platform(PlatformError::Listen { .. }) => {
            let elsewhere = "--set SERVICE.listen=IP:PORT, --data-dir DIR";
            failure.with_next(format!("if it runs already, use that one; else let this one run elsewhere: {elsewhere}"))
        }
        DevError::Platform(_) | DevError::Io(_) => failure,
    }
}

fn logs(settings: &Settings) -> Result<telemetry::Telemetry, Failure> {
    telemetry::init(&settings.telemetry, "spillway").map_err(|error| Failure::ours("there can be no logs", &error))
}

// === impl Key ===

impl Key {
    /// The key that was given, or a fresh one.
    pub(crate) fn get(&self) -> RequestId {
        self.request_id.unwrap_or_else(RequestId::random)
    }
}

// === impl Limit ===

impl Limit {
    /// `list`, and whether there is more of it.
    pub(crate) fn and_more(self, list: String, next_page_token: &str) -> String {
        match next_page_token {
            "" => list,
            _ => format!("{}\nThere are more than {}: raise --limit.", list.trim_end(), self.limit),
        }
    }
}
