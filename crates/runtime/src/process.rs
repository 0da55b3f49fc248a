//! What the main of a service's own process does: settings, telemetry, signals, exit code.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, process::ExitCode};

use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    TelemetryConfig,
    config::{self, EX_USAGE, Validate},
    shutdown, telemetry,
};

/// The environment variable that names the configuration file.
pub const CONFIG_FILE: &str = "SPILLWAY_CONFIG";

/// Where a service without a database server keeps its files: the table `[data]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
}

/// Runs a service as a process of its own: loads its settings (`defaults` behind the runtime's own, the file that
/// [`CONFIG_FILE`] names, the environment), starts telemetry, and runs `serve` until a signal.
///
/// Exits with [`EX_USAGE`] and every error at once when the configuration is bad, and with 1 when `serve` fails.
pub fn run<T, E, F, Fut>(name: &'static str, defaults: &str, logs: fn(&T) -> &TelemetryConfig, serve: F) -> ExitCode
where
    T: DeserializeOwned + Validate,
    E: std::fmt::Display,
    F: FnOnce(T, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let file = std::env::var_os(CONFIG_FILE).map(PathBuf::from);
    let defaults = format!("{}{defaults}", config::DEFAULTS);
    // `vars` would panic on a variable of somebody else's that is no Unicode.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings: T = match config::load(&defaults, file.as_deref(), env, &[]) {
        Ok(settings) => settings,
        Err(errors) => return fail(&format!("{name}: bad configuration\n{errors}"), EX_USAGE),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("{name}: {error}"), 1),
    };
    runtime.block_on(async {
        let _telemetry = match telemetry::init(logs(&settings), name) {
            Ok(telemetry) => telemetry,
            Err(error) => return fail(&format!("{name}: {error}"), 1),
        };
        let shutdown = match shutdown::on_signal() {
            Ok(shutdown) => shutdown,
            Err(error) => return fail(&format!("{name}: {error}"), 1),
        };
        match serve(settings, shutdown).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{name}: {error}"), 1),
        }
    })
}

/// Makes the data directory and takes the port: whatever is wrong with either shows before anything is opened.
///
/// # Errors
/// When the directory cannot be made or the port not be had; the error names it.
pub fn listen(address: SocketAddr, data: &DataConfig) -> io::Result<TcpListener> {
    let named = |name: String| move |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
    std::fs::create_dir_all(&data.dir).map_err(named(data.dir.display().to_string()))?;
    let listener = std::net::TcpListener::bind(address).map_err(named(address.to_string()))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[expect(clippy::print_stderr, reason = "the last words of a process that has no log yet, or none any more")]
fn fail(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}
