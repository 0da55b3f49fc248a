//! The loop that brings events from an outbox to the bus.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Claim, Marking, Outbox};
use crate::{Committer, Rules, bus::Bus, database::Database};

/// How long the relay sleeps when nobody wakes it; only rows that a crash left behind, or that wait for another relay's,
/// wait for this.
const POLL: Duration = Duration::from_secs(1);
/// Pause between two publications: what commits meanwhile goes with the next, which costs a busy service a good deal less
/// than a publication a commit, and nobody an event that is noticeably later.
const PACE: Duration = Duration::from_millis(10);
/// First pause after the bus could not take a batch; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two offers of the same batch. A bus that is back gets what waited within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Publishes one service's events until told to stop. Replicas have one each and share the work.
#[derive(Debug)]
pub struct Relay<R: Rules> {
    outbox: Arc<dyn Outbox>,
    committer: Committer<R>,
    /// Topics that the bus was prepared for.
    enrolled: BTreeSet<String>,
}

// === impl Relay ===

impl<R: Rules> Relay<R> {
    /// A relay over a service's database, woken by its commits.
    pub fn new(database: &Database, committer: Committer<R>) -> Self {
        Self::over(database.outbox(), committer)
    }

    /// A relay over an outbox.
    pub const fn over(outbox: Arc<dyn Outbox>, committer: Committer<R>) -> Self {
        Self { outbox, committer, enrolled: BTreeSet::new() }
    }

    /// Runs until `stop`. Each event is offered until the bus has taken it.
    pub async fn run(mut self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let attending = bus.attend(Arc::clone(&self.outbox), stop.clone());
        tokio::join!(attending, self.publish_until(&bus, &stop));
    }

    async fn publish_until(&mut self, bus: &Arc<dyn Bus>, stop: &CancellationToken) {
        let (mut pause, mut is_troubled) = (BACKOFF_MIN, false);
        while !stop.is_cancelled() {
            let published = self.publish_batch(bus).await;
            match (&published, is_troubled) {
                (Err(problem), false) => tracing::warn!(problem, "events are not published; they stay in the outbox"),
                (Err(problem), true) => tracing::debug!(problem, retry_in = ?pause, "events are still not published"),
                (Ok(1..), true) => tracing::info!("events are published again"),
                (Ok(_), _) => {}
            }
            // A round without events tells nothing.
            is_troubled = published.is_err() || (is_troubled && published == Ok(0));
            match published {
                Ok(0) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.committer.committed() => {}
                    () = tokio::time::sleep(POLL) => {}
                },
                Ok(_) => {
                    pause = BACKOFF_MIN;
                    tokio::time::sleep(PACE).await;
                }
                Err(_) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Answers how many events were published. No transaction is open meanwhile.
    async fn publish_batch(&mut self, bus: &Arc<dyn Bus>) -> Result<usize, String> {
        if !bus.is_up() {
            return Err("the bus is down".to_owned());
        }
        let claim = self.claim(bus).await?;
        if claim.events.is_empty() {
            return Ok(0);
        }
        let history = match bus.publish(&claim.events).await {
            Ok(history) => history,
            Err(error) => {
                if let Err(problem) = self.outbox.release(&claim).await {
                    tracing::debug!(%problem, "claim not given back; it lapses");
                }
                return Err(error.to_string());
            }
        };
        match self.outbox.mark(&claim, &history).await.map_err(|error| error.to_string())? {
            Marking::ByWriter(positions) => {
                self.committer.mark_published(positions).await.map_err(|error| error.to_string())?;
            }
            Marking::Done(0) => return Err("the claim did not hold; what was published will be again".to_owned()),
            Marking::Done(marked) => {
                if marked < u64::try_from(claim.positions.len()).unwrap_or(u64::MAX) {
                    tracing::debug!(marked, claimed = claim.positions.len(), "some events will be published again");
                }
            }
        }
        Ok(claim.events.len())
    }

    /// Takes unpublished events, all of topics that the bus is prepared for.
    async fn claim(&mut self, bus: &Arc<dyn Bus>) -> Result<Claim, String> {
        loop {
            let claim = self.outbox.claim().await.map_err(|error| error.to_string())?;
            let topics: BTreeSet<_> = claim.events.iter().map(|event| event.topic.clone()).collect();
            let mut new = topics.difference(&self.enrolled).cloned().peekable();
            if new.peek().is_none() {
                return Ok(claim);
            }
            // Preparing a topic may end its claims, so there has to be another one.
            self.outbox.release(&claim).await.map_err(|error| error.to_string())?;
            for topic in new.collect::<Vec<_>>() {
                bus.enrol(&*self.outbox, &topic).await.map_err(|error| error.to_string())?;
                self.enrolled.insert(topic);
            }
        }
    }
}
