//! Health that means something: probes of what a server depends on, asked again and again.
//!
//! | name | SERVING when |
//! |---|---|
//! | `liveness` | the process runs its tasks; never asks a dependency |
//! | `readiness`, the empty name, each full service name | every probe succeeds, and no drain has begun |

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;
use tonic_health::{ServingStatus, server::HealthReporter};

/// The health name that says whether the process is alive.
pub const LIVENESS: &str = "liveness";

/// The health name that says whether it can do its work.
pub const READINESS: &str = "readiness";

/// A named check of something that a server cannot do without.
#[derive(Clone)]
pub(crate) struct Probe {
    name: &'static str,
    check: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// Probes, and where their result is reported.
#[derive(Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    services: Vec<&'static str>,
    probes: Vec<Probe>,
    /// Time between two rounds, and the most that one probe may take.
    interval: Duration,
}

// === impl Probe ===

impl Probe {
    pub(crate) fn new<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, check: Arc::new(move || Box::pin(check())) }
    }

    async fn ask(&self, limit: Duration) -> Result<(), String> {
        let answer = timeout(limit, (self.check)()).await.unwrap_or_else(|_| Err(format!("no answer in {limit:?}")));
        answer.map_err(|error| format!("{}: {error}", self.name))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Health ===

impl Health {
    /// Nothing serves until the first round of probes has been asked.
    pub(crate) async fn new(
        reporter: HealthReporter,
        services: Vec<&'static str>,
        probes: Vec<Probe>,
        interval: Duration,
    ) -> Self {
        let health = Self { reporter, services, probes, interval };
        health.report(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health
    }

    /// Asks every probe, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut was = None;
        loop {
            let failures = self.ask().await;
            let now = failures.is_empty();
            if was != Some(now) {
                if now {
                    tracing::info!(services = ?self.services, "serving");
                } else {
                    tracing::warn!(?failures, services = ?self.services, "not serving");
                }
                self.report(if now { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
                was = Some(now);
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Tells everybody to go elsewhere.
    pub(crate) async fn drain(&self) {
        self.report(ServingStatus::NotServing).await;
    }

    async fn ask(&self) -> Vec<String> {
        let answers = join_all(self.probes.iter().map(|probe| probe.ask(self.interval))).await;
        answers.into_iter().filter_map(Result::err).collect()
    }

    async fn report(&self, status: ServingStatus) {
        for name in ["", READINESS].iter().chain(&self.services) {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
