//! What the main of a service's own process does: settings, telemetry, signals, exit code.

mod settings;

use std::{error::Error, future::Future, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use spillway_middleware::{ClientConfig, Policies};
use spillway_storage::Resources;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    Admin, ServerConfig,
    config::{self, EX_USAGE},
    policies, shutdown, telemetry,
};
use settings::Settings;

pub use settings::Section;

/// The environment variable that names the configuration file.
pub const CONFIG_FILE: &str = "SPILLWAY_CONFIG";

/// What a service's process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To serve.
    Serve,
    /// `--migrate`: to bring its database's schema up to date, and end.
    Migrate,
}

/// A service's process, as the service finds it.
#[derive(Debug)]
pub struct Process {
    /// What it is started for.
    pub task: Task,
    /// Where its state and its events go.
    pub resources: Resources,
    /// What its server takes.
    pub server: ServerConfig,
    /// How it calls others.
    pub client: ClientConfig,
    /// The policy of every method.
    pub policies: Policies,
    /// Cancelled by the first signal to end.
    pub shutdown: CancellationToken,
}

/// Runs a service as a process of its own: loads its settings (the defaults of everything, the file that [`CONFIG_FILE`]
/// names, the environment), starts telemetry and the listener for operators, and runs `serve` until a signal. The only
/// argument that it takes is `--migrate`.
///
/// Exits with [`EX_USAGE`] and every error at once when the arguments or the configuration are bad, and with 1 when
/// `serve` fails.
pub fn run<C, F, Fut>(serve: F) -> ExitCode
where
    C: Section,
    F: FnOnce(C, Process) -> Fut,
    Fut: Future<Output = Result<(), Box<dyn Error>>>,
{
    let name = C::NAME;
    let task = match std::env::args_os().skip(1).collect::<Vec<_>>().as_slice() {
        [] => Task::Serve,
        [only] if only == "--migrate" => Task::Migrate,
        _ => {
            return fail(
                &format!("usage: {name} [--migrate]\nSettings come from {CONFIG_FILE} and SPILLWAY__*."),
                EX_USAGE,
            );
        }
    };
    let file = std::env::var_os(CONFIG_FILE).map(PathBuf::from);
    let defaults = [config::DEFAULTS, spillway_storage::config::DEFAULTS, C::DEFAULTS].concat();
    // `vars` would panic on a variable of somebody else's that is no Unicode.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings: Settings<C> = match config::load(&defaults, file.as_deref(), env, &[]) {
        Ok(settings) => settings,
        Err(errors) => return fail(&format!("{name}: bad configuration\n{errors}"), EX_USAGE),
    };
    let ran = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            let _telemetry = telemetry::init(&settings.telemetry, name)?;
            start(settings, task, serve).await
        })
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{name}: {error}"), 1),
    }
}

async fn start<C, F, Fut>(settings: Settings<C>, task: Task, serve: F) -> Result<(), Box<dyn Error>>
where
    F: FnOnce(C, Process) -> Fut,
    Fut: Future<Output = Result<(), Box<dyn Error>>>,
{
    let Settings { admin, data, server, client, own, telemetry: _ } = settings;
    let shutdown = shutdown::on_signal()?;
    let resources = Resources::connected(data)?;
    let _admin = match task {
        Task::Serve => Some(Admin::start(&admin, &server, &resources.bus).await),
        Task::Migrate => None,
    };
    let bus = Arc::clone(&resources.bus);
    let served = serve(own, Process { task, resources, server, client, policies: policies(), shutdown }).await;
    bus.close().await;
    served
}

/// Takes the port: that it is somebody else's shows before anything is opened.
///
/// # Errors
/// When the port is not to be had; the error names it.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[expect(clippy::print_stderr, reason = "the last words of a process that has no log yet, or none any more")]
fn fail(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}
