//! `spillway dev`: the whole platform in one process.

use std::io::{self, Write};

use spillway_runtime::shutdown;

use crate::{
    config::Settings,
    platform::{Addresses, Platform, PlatformError},
};

/// Why `dev` ended badly.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The platform could not start, or a server failed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Signals cannot be listened to, or standard output is gone.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Starts the platform, says where it is, and runs until a signal.
///
/// # Errors
/// When it cannot start or a server fails.
pub async fn run(settings: Settings) -> Result<(), DevError> {
    let shutdown = shutdown::on_signal()?;
    let data = settings.data.dir.display().to_string();
    let mode = settings.mode();
    let platform = Platform::start(settings).await?;
    write!(io::stdout().lock(), "{}", banner(mode, platform.addresses(), &data))?;
    Ok(platform.run(shutdown).await?)
}

/// Where everything is, for people and for those who wait for the platform to be there.
pub(crate) fn banner(mode: &str, addresses: Addresses, data: &str) -> String {
    format!(
        "spillway is up, {mode}; data in {data}\n\
         \x20 checkout, sagas       {}\n\
         \x20 orders                {}\n\
         \x20 stock                 {}\n\
         \x20 payments, wallets     {}\n\
         \x20 shipments, warehouses {}\n\
         Ctrl-C ends it.\n",
        addresses.orchestrator, addresses.order, addresses.inventory, addresses.payment, addresses.fulfilment,
    )
}
