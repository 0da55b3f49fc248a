//! What can be typed: the commands and the options that all of them share. Options of a command stand beside the command,
//! in `commands`.

pub(crate) mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    commands::{
        events::EventsCommand,
        fulfilment::{ShipmentCommand, WarehouseCommand},
        order::OrderCommand,
        saga::SagaCommand,
        stock::StockCommand,
        verify::VerifyArgs,
        wallet::WalletCommand,
    },
    output::Output,
};

/// Said at the end of every `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   refused: asking again gives the same answer; or `verify` has found a violation
  2   not reached, too busy, or the outcome is not known: asking again may help
  64  called or configured wrongly

With --json an answer is one JSON document on standard output, with the names of the protos; `order watch` prints one a
line. An error is one on standard error: {\"error\": {\"reason\", \"code\", \"message\", \"violations\", \"next\", ..}}.";

/// An order platform that stays correct under a flash sale: run it, use it, look into it.
#[derive(Debug, Parser)]
#[command(name = "spillway", version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Settings to put over the defaults (`spillway config` shows those)
    #[arg(long, global = true, env = "SPILLWAY_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting, put over file and environment: `--set order.listen=127.0.0.1:9001`
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = values::setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Where the databases are: short for `--set data.dir=DIR`
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON, for machines
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait for the answer: `5s`, `500ms`, `2m`; without it, what `client.deadline` says
    #[arg(long, global = true, value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole platform in this process, until Ctrl-C
    Dev(DevArgs),
    /// Run the platform on fresh data, let buyers storm one item, and verify what came of it
    Demo(DemoArgs),
    /// Print every setting with its default, as a file to start from
    Config,
    /// Place orders and see what becomes of them
    #[command(subcommand)]
    Order(OrderCommand),
    /// See and change what can be sold
    #[command(subcommand)]
    Stock(StockCommand),
    /// See what drives the orders
    #[command(subcommand)]
    Saga(SagaCommand),
    /// See events that could not be delivered, and deliver them again
    #[command(subcommand)]
    Events(EventsCommand),
    /// See and fill buyers' wallets
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// See where parcels leave from
    #[command(subcommand)]
    Warehouse(WarehouseCommand),
    /// See the parcels of orders, and report what carriers do with them
    #[command(subcommand)]
    Shipment(ShipmentCommand),
    /// Check the invariants over the databases that the settings name, whether the platform runs or not
    Verify(VerifyArgs),
}

/// Options of `dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {}

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many buyers want the item, one piece each
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) buyers: u32,
    /// How many pieces there are
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) stock: u32,
    /// How many orders are under way at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: u32,
    /// End when done, with an exit code that says how it went, instead of staying up for grpcurl
    #[arg(long)]
    pub(crate) exit: bool,
    /// Play it on a platform that runs already, where the settings say (`peers`); its data stays
    #[arg(long)]
    pub(crate) attach: bool,
}

/// A command line with nothing to run.
#[derive(Debug)]
pub(crate) enum Idle {
    /// Help was asked for; here it is.
    Help(String),
    /// It cannot be understood; here is why.
    Wrong(String),
}

/// Reads the command line. An error comes with whether it was to be in JSON, as far as that can be told.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, (Idle, Output)> {
    let args: Vec<_> = args.into_iter().collect();
    let output = Output::new(args.iter().any(|arg| arg == "--json"));
    Cli::try_parse_from(args).map_err(|error| {
        let text = error.render().to_string();
        let idle = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Idle::Help(text),
            _ => Idle::Wrong(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()),
        };
        (idle, output)
    })
}

// === impl Global ===

impl Global {
    /// The settings of the command line, for the topmost layer of the configuration.
    pub(crate) fn overrides(&self) -> Vec<(String, String)> {
        let data_dir = self.data_dir.iter().map(|dir| ("data.dir".to_owned(), dir.display().to_string()));
        self.set.iter().cloned().chain(data_dir).collect()
    }
}

#[cfg(test)]
mod tests;
