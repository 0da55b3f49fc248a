//! `spillway verify`: the invariants, over the data directory.

use std::path::Path;

use clap::Args;

use crate::{
    output::{Exit, Failure, Output},
    verify,
};

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {}

/// Does it. A violation is an answer, but not a good one.
pub(crate) async fn run(data: &Path, output: Output) -> Result<Exit, Failure> {
    let report = verify::run(data).await;
    let report = report.map_err(|error| Failure::ours("the databases cannot be judged", &error).undecided())?;
    output.report(&report)?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::Refused })
}
