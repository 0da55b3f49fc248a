//! Health that means something: probes of what a server depends on, asked again and again.
//!
//! | name | SERVING when |
//! |---|---|
//! | `liveness` | the process runs its tasks; never asks a dependency |
//! | `readiness`, the empty name, each full service name | every probe succeeds, and no drain has begun |
//! | the name of a companion, such as `redis` | what the services only work more slowly without is there |

mod board;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;
use tonic_health::{ServingStatus, server::HealthReporter};

pub(crate) use board::{Place, all_serve, observe};

/// The health name that says whether the process is alive.
pub const LIVENESS: &str = "liveness";

/// The health name that says whether it can do its work.
pub const READINESS: &str = "readiness";

/// A named check of something that a server cannot do without.
#[derive(Clone)]
pub(crate) struct Probe {
    name: &'static str,
    /// Whether the services can do without what it checks.
    is_companion: bool,
    check: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// Probes, and where their result is reported.
#[derive(Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    services: Vec<&'static str>,
    probes: Vec<Probe>,
    /// Where the process as a whole is told, unless this is the server that tells of it.
    place: Option<Place>,
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
        Self { name, is_companion: false, check: Arc::new(move || Box::pin(check())) }
    }

    pub(crate) fn companion<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { is_companion: true, ..Self::new(name, check) }
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
        place: Option<Place>,
        interval: Duration,
    ) -> Self {
        let health = Self { reporter, services, probes, place, interval };
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
                // The one that tells of the whole process has nothing of its own to say.
                if self.place.is_none() {
                    tracing::debug!(?failures, "asked after the whole process");
                } else if now {
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
        let mut failures = Vec::new();
        for (probe, answer) in self.probes.iter().zip(answers) {
            if probe.is_companion {
                let status = if answer.is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing };
                self.reporter.set_service_status(probe.name, status).await;
            } else {
                failures.extend(answer.err());
            }
        }
        failures
    }

    async fn report(&self, status: ServingStatus) {
        for name in ["", READINESS].iter().chain(&self.services) {
            self.reporter.set_service_status(name, status).await;
        }
        if let Some(place) = &self.place {
            place.set(status == ServingStatus::Serving);
        }
    }
}
