//! Takes up sagas that the log says are unfinished and nobody drives: all of a part of the log when it is gained, oldest
//! first, and later whatever has come due, was lost, or was left word for.

use std::{sync::Arc, time::Duration};

use spillway_types::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{Engine, Shared};
use crate::{
    log::{Due, LogError, SagaRow},
    territory::Part,
};

/// Rows read at once: some hundreds of KiB, and few enough that what is read is still true when it is used.
const PAGE: u32 = 256;
/// Sagas are taken up in small bursts, this many a second, since timers are not finer than a millisecond.
const BURSTS_PER_SECOND: u32 = 20;
/// The pause between two looks for timers and for what other processes left word for. A process that shares its log with
/// nobody hears of everything at once and does without.
const LISTEN_INTERVAL: Duration = Duration::from_millis(500);
/// The pause before a part of the log is searched again when that failed.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Everything unfinished: in a part that was just gained all is driverless, and parked sagas are tried at once, since
    /// what happened to their driver may be what they were waiting for.
    Gained,
    /// What has come due, and what has been quiet for long.
    Regular,
    /// What has come due, or somebody left word for.
    Word,
}

// === impl Engine ===

impl Engine {
    /// Looks for sagas to take up until the engine is shut down. Run it as a task of its own, once.
    pub async fn recover(&self) {
        let shared = &self.shared;
        let looking = async { tokio::join!(shared.scan(), shared.listen()) };
        tokio::select! {
            () = shared.draining.cancelled() => {}
            _ = looking => {}
        }
    }
}

// === impl Shared ===

impl Shared {
    async fn scan(self: &Arc<Self>) {
        let mut next_scan = Instant::now();
        loop {
            let unsettled = self.lock().territory.unsettled();
            match unsettled {
                Some(part) => self.settle(&part).await,
                None if Instant::now() >= next_scan => {
                    self.look(Look::Regular).await;
                    next_scan = Instant::now() + self.config.scan_interval;
                }
                None => {
                    tokio::select! {
                        () = self.gained.notified() => {}
                        () = sleep_until(next_scan) => {}
                    }
                }
            }
        }
    }

    async fn listen(self: &Arc<Self>) {
        if !self.lock().territory.is_leased() {
            return;
        }
        loop {
            tokio::select! {
                () = self.log.posted() => {}
                () = sleep(LISTEN_INTERVAL) => {}
            }
            self.look(Look::Word).await;
        }
    }

    /// Searches a part that was just gained.
    async fn settle(self: &Arc<Self>, part: &Part) {
        match self.sweep(part, Look::Gained).await {
            Ok(taken_up) => {
                info!(taken_up, "unfinished sagas were taken up");
                self.lock().territory.settle(part);
            }
            // Until one look has succeeded, nothing is known of what was left behind there.
            Err(error) => {
                warn!(%error, "could not look for unfinished sagas");
                sleep(RETRY_AFTER).await;
            }
        }
    }

    async fn look(self: &Arc<Self>, look: Look) {
        let settled = self.lock().territory.settled();
        let Some(part) = settled else { return };
        if let Err(error) = self.sweep(&part, look).await {
            warn!(%error, ?look, "could not look for sagas that need a driver");
        }
    }

    /// One look through a part of the log, page by page.
    async fn sweep(self: &Arc<Self>, part: &Part, look: Look) -> Result<u64, LogError> {
        let mut query = self.query(part, look);
        let mut pace = Pace::new(self.config.resume_per_second);
        loop {
            let page = self.log.due(query.clone()).await?;
            let Some(last) = page.last() else {
                return Ok(pace.taken);
            };
            query.after = Some((last.created, last.id));
            for row in &page {
                self.take_up(row, part, look, &mut pace).await;
            }
        }
    }

    fn query(&self, part: &Part, look: Look) -> Due {
        let now = self.clock.now();
        let quiet_for = i64::try_from(self.config.quiet_for.as_micros()).unwrap_or(i64::MAX);
        let (forever, quiet) =
            (Timestamp::from_micros(i64::MAX), Timestamp::from_micros(now.as_micros().saturating_sub(quiet_for)));
        Due {
            partitions: part.partitions(),
            quiet_since: match look {
                // Other processes have other clocks: what they wrote last may seem to be yet to come.
                Look::Gained if part.partitions().is_some() => Some(forever),
                Look::Gained => Some(now),
                Look::Regular => Some(quiet),
                Look::Word => None,
            },
            waiting_until: now,
            parked_until: if look == Look::Gained { forever } else { now },
            after: None,
            limit: PAGE,
        }
    }

    async fn take_up(self: &Arc<Self>, row: &SagaRow, part: &Part, look: Look, pace: &mut Pace) {
        // Begun, or taken up, since the part was gained: not what an earlier driver left behind.
        let is_current = look == Look::Gained && part.wrote(row.id.partition(), row.epoch);
        if self.pass_on(row) || is_current {
            return;
        }
        let Some(epoch) = part.epoch(row.id.partition()) else { return };
        pace.wait().await;
        // Never closed; were it, there would be nothing to take up.
        if let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            // Lost meanwhile, it is its next owner's to take up.
            let _ = self.adopt(row, epoch, permit, None);
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
