//! `spillway verify`: the invariants, over the databases that the settings name.

use clap::Args;

use crate::{
    config::Settings,
    output::{Exit, Failure, Output},
    verify::{self, Options, Places},
};

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {}

/// Does it. A violation is an answer, but not a good one.
pub(crate) async fn run(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let report = verify::run_on(Places::of(settings), &Options::default()).await;
    let report = report.map_err(|error| Failure::ours("the databases cannot be judged", &error).undecided())?;
    output.report(&report)?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::Refused })
}
