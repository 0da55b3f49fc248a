//! What the service does without being called: it opens the first warehouse, so that a new platform can ship. (The
//! outbox relay is storage's.)

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use spillway_storage::{Committer, StoreError};
use spillway_types::{Reason, RequestId, WarehouseId, name::InvalidName};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Command, Coverage, Once, command::CreateWarehouse},
    store::{Desk, Reader},
};

/// Its name.
const MAIN: &str = "main";
/// Days that a parcel from it takes.
const PROMISED_DAYS: u32 = 2;
/// Pause between two tries while the database is away.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens a warehouse that sends everything everywhere, unless there is one of any kind already.
pub(crate) async fn open_default_warehouse(committer: &Committer<Desk>, reader: &dyn Reader) -> Result<(), StoreError> {
    if !reader.warehouses(None, 1).await?.is_empty() {
        return Ok(());
    }
    let body = default_warehouse().map_err(StoreError::corrupt)?;
    match committer.submit(Command::CreateWarehouse(Once::new(RequestId::random(), body))).await? {
        Ok(_) => {
            tracing::info!(warehouse = MAIN, "there was no warehouse; opened one that sends everything everywhere")
        }
        // Another replica had the same thought.
        Err(fault) if fault.reason == Reason::AlreadyExists => {}
        Err(fault) => tracing::warn!(%fault, "the default warehouse was not opened"),
    }
    Ok(())
}

/// The same, again and again until the database has answered: a service starts before its database does, if need be.
pub(crate) async fn insist_on_default_warehouse(
    committer: Committer<Desk>,
    reader: Arc<dyn Reader>,
    stop: CancellationToken,
) {
    while let Err(error) = open_default_warehouse(&committer, &*reader).await {
        tracing::warn!(%error, retry_in = ?PAUSE, "cannot see whether there is a warehouse");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn default_warehouse() -> Result<CreateWarehouse, InvalidName> {
    Ok(CreateWarehouse {
        warehouse_id: WarehouseId::new(MAIN)?,
        regions: BTreeSet::from([Coverage::Everywhere]),
        priority: 0,
        capacity_per_day: 0,
        assortment: BTreeSet::new(),
        promised_days: PROMISED_DAYS,
        active: true,
    })
}
