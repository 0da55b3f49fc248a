//! Takes up sagas that the log says are unfinished and nobody drives: all of them at the start, oldest first, and later
//! whatever has come due or was lost.

use std::{sync::Arc, time::Duration};

use spillway_types::Timestamp;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{Engine, Shared};
use crate::log::{Due, LogError, SagaRow};

/// Rows read at once: some hundreds of KiB, and few enough that what is read is still true when it is used.
const PAGE: u32 = 256;
/// Sagas are taken up in small bursts, this many a second, since timers are not finer than a millisecond.
const BURSTS_PER_SECOND: u32 = 20;

// === impl Engine ===

impl Engine {
    /// Looks for sagas to take up until the engine is shut down. Run it as a task of its own, once.
    pub async fn recover(&self) {
        let shared = &self.shared;
        let mut is_first = true;
        loop {
            let looked = tokio::select! {
                () = shared.draining.cancelled() => return,
                looked = shared.sweep(is_first) => looked,
            };
            match looked {
                Ok(taken_up) => {
                    if is_first {
                        info!(taken_up, "unfinished sagas were taken up");
                    }
                    is_first = false;
                }
                // Until one look has succeeded, nothing is known of what a crash left behind.
                Err(error) => warn!(%error, "could not look for unfinished sagas"),
            }
            tokio::select! {
                () = shared.draining.cancelled() => return,
                () = tokio::time::sleep(shared.config.scan_interval) => {}
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    /// One look through the log, page by page. The first one takes everything for driverless, and tries parked sagas at
    /// once: the restart may be what they were waiting for.
    async fn sweep(self: &Arc<Self>, is_first: bool) -> Result<u64, LogError> {
        let now = self.clock.now();
        let quiet_since = Timestamp::from_micros(
            now.as_micros().saturating_sub(i64::try_from(self.config.quiet_for.as_micros()).unwrap_or(i64::MAX)),
        );
        let mut query = Due {
            quiet_since: if is_first { now } else { quiet_since },
            waiting_until: now,
            parked_until: if is_first { Timestamp::from_micros(i64::MAX) } else { now },
            after: None,
            limit: PAGE,
        };
        let mut pace = Pace::new(self.config.resume_per_second);
        loop {
            let page = self.log.due(query).await?;
            let Some(last) = page.last() else {
                return Ok(pace.taken);
            };
            query.after = Some((last.created, last.id));
            for row in page {
                self.take_up(row, &mut pace).await;
            }
        }
    }

    async fn take_up(self: &Arc<Self>, row: SagaRow, pace: &mut Pace) {
        if self.live(row.id).is_some() {
            return;
        }
        pace.wait().await;
        // Never closed; were it, there would be nothing to take up.
        if let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            self.adopt(row, permit, None);
        }
    }
}

/// Spreads work evenly: so many at once, then a pause.
struct Pace {
    burst: u64,
    taken: u64,
    next: Instant,
}

// === impl Pace ===

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { burst: u64::from(per_second.div_ceil(BURSTS_PER_SECOND).max(1)), taken: 0, next: Instant::now() }
    }

    async fn wait(&mut self) {
        if self.taken.is_multiple_of(self.burst) {
            sleep_until(self.next).await;
            self.next = Instant::now() + Duration::from_secs(1) / BURSTS_PER_SECOND;
        }
        self.taken += 1;
    }
}
