//! The `spillway` command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    spillway::commands::run(std::env::args_os()).await
}
