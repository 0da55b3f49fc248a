//! Loops beside the handlers: the sweeper that takes back promises whose time is over, and what keeps the gate in step
//! with the ledger. (The outbox relay is storage's.)

use std::{sync::Arc, time::Duration};

use spillway_storage::Committer;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Answer, Command},
    store::{Ledger, Reader, gate::Gate},
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

/// Sets the gate's counters again and again until told to stop.
pub(crate) async fn reconcile(gate: Arc<Gate>, reader: Arc<dyn Reader>, stop: CancellationToken) {
    let mut is_well = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = gate.due() => {}
        }
        let set = gate.reconcile(&*reader).await;
        if let Err(error) = &set
            && is_well
        {
            tracing::warn!(%error, "the gate's counters cannot be set; until they can, they lapse");
        }
        is_well = set.is_ok();
    }
}
