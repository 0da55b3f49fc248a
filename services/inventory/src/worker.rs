//! Loops beside the handlers: the sweeper that takes back promises whose time is over. (The outbox relay is storage's.)

use std::time::Duration;

use spillway_storage::Committer;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Answer, Command},
    store::Ledger,
};

/// Sweeps lapsed promises every `interval` until told to stop. A Reserve that needs units does not wait for it.
pub(crate) async fn sweep(committer: Committer<Ledger>, interval: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        // Each pass takes back a bounded number; passes go on while there is more.
        loop {
            match committer.submit(Command::Expire).await {
                Ok(Ok(Answer::Expired(count))) if count > 0 => tracing::info!(count, "reservations expired"),
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "sweeping lapsed reservations failed; trying again at the next interval");
                    break;
                }
            }
        }
    }
}
