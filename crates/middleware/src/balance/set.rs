//! The endpoints of one target, and which of them a call goes to.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use spillway_types::{Fault, Reason};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tonic::Status;

use super::{Address, Guarded, Quota, Reach, endpoint::Endpoint, link::CONNECT_TIMEOUT};
use crate::status::{from_fault, to_fault};

/// How long a call waits for a connection where the last attempts to connect failed: enough for one attempt to somebody
/// who is back, and not for one to somebody who does not answer at all.
const GONE_PATIENCE: Duration = Duration::from_millis(100);

/// Calls that may wait for a connection at a time; as many as may be in flight once there is one.
const WAITING_MAX: usize = 1_024;

/// When to try again while nobody can be reached, give or take a half: links try to connect about as often.
const RETRY_AFTER_MS: u64 = 200;

type Endpoints<S> = Arc<[Arc<Endpoint<S>>]>;
/// Puts the guards around a transport.
type Guard<S> = Box<dyn Fn(S, &Arc<Quota>) -> Guarded<S> + Send + Sync>;

/// The endpoints of one target.
pub(crate) struct Set<S> {
    endpoints: RwLock<Endpoints<S>>,
    guard: Guard<S>,
    quota: Arc<Quota>,
    /// Told of every connection made, lost or failed, and of every change of the endpoints.
    changed: Arc<Notify>,
    waiting: AtomicUsize,
}

/// What a call has been through.
#[derive(Debug)]
pub(crate) struct Tried<S> {
    refused: Vec<Arc<Endpoint<S>>>,
    failure: Option<Status>,
}

/// A call's place among those that wait; given back on drop.
struct Waiting<'a>(&'a AtomicUsize);

// === impl Set ===

impl<S: Reach + Clone> Set<S> {
    /// A set without endpoints, which puts `guard` around each that it will have.
    pub(crate) fn new(guard: impl Fn(S, &Arc<Quota>) -> Guarded<S> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            endpoints: RwLock::new(Arc::new([])),
            guard: Box::new(guard),
            quota: Quota::new(0),
            changed: Arc::new(Notify::new()),
            waiting: AtomicUsize::new(0),
        })
    }

    /// For whoever changes something that a call may wait for.
    pub(crate) fn changed(&self) -> &Arc<Notify> {
        &self.changed
    }

    /// Makes `addresses` the endpoints. Those that were there stay as they are, with all that is known of them; those
    /// that go take no new calls, and end the ones that they have.
    pub(crate) fn replace(&self, addresses: &[Address], mut connect: impl FnMut(&Address) -> S) {
        let before = self.all();
        let known = |address: &Address| before.iter().find(|endpoint| endpoint.address() == address).cloned();
        let after: Endpoints<S> = addresses
            .iter()
            .map(|address| {
                known(address).unwrap_or_else(|| {
                    let transport = connect(address);
                    let guarded = (self.guard)(transport.clone(), &self.quota);
                    Arc::new(Endpoint::new(address.clone(), transport, guarded))
                })
            })
            .collect();
        self.quota.resize(after.len());
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = after;
        self.changed.notify_waiters();
    }

    /// The endpoint for a call's next attempt. Waits for a connection where there is none and hope.
    ///
    /// # Errors
    /// When nobody can be reached, or everybody has refused the call.
    pub(crate) async fn endpoint(&self, tried: &mut Tried<S>) -> Result<Arc<Endpoint<S>>, Status> {
        match self.choose(tried) {
            Some(endpoint) => Ok(endpoint),
            // Whoever is left cannot be reached: a refusal in hand is worth more than their silence.
            None if !tried.refused.is_empty() => Err(tried.failure()),
            None => self.wait(tried).await,
        }
    }

    /// The better of two that are well, or whoever is well, or whoever has a connection at least.
    fn choose(&self, tried: &Tried<S>) -> Option<Arc<Endpoint<S>>> {
        let all = self.all();
        if all.is_empty() {
            return None;
        }
        let first = rand::random_range(0..all.len());
        let step = if all.len() > 1 { rand::random_range(1..all.len()) } else { 0 };
        let (one, other) = (&all[first], &all[(first + step) % all.len()]);
        let ready = |endpoint: &Arc<Endpoint<S>>| endpoint.transport().is_ready() && !tried.has(endpoint);
        let good = |endpoint: &Arc<Endpoint<S>>| ready(endpoint) && endpoint.is_well();
        let chosen = match (good(one), good(other)) {
            (true, true) if other.cost() < one.cost() => Some(other),
            (true, _) => Some(one),
            (false, true) => Some(other),
            (false, false) => {
                let around = || all.iter().cycle().skip(first).take(all.len());
                around().find(|endpoint| good(endpoint)).or_else(|| around().find(|endpoint| ready(endpoint)))
            }
        };
        chosen.cloned()
    }

    async fn wait(&self, tried: &Tried<S>) -> Result<Arc<Endpoint<S>>, Status> {
        let Some(_place) = Waiting::enter(&self.waiting) else { return Err(unreachable()) };
        let began: Vec<_> =
            self.all().iter().map(|endpoint| (Arc::clone(endpoint), endpoint.transport().trouble())).collect();
        let all_gone = !began.is_empty() && began.iter().all(|(_, trouble)| trouble.gone);
        let end = Instant::now() + if all_gone { GONE_PATIENCE } else { CONNECT_TIMEOUT };
        began.iter().for_each(|(endpoint, _)| endpoint.transport().nudge());
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that no change falls between the look and the wait.
            changed.as_mut().enable();
            if let Some(endpoint) = self.choose(tried) {
                return Ok(endpoint);
            }
            let failed_since = |endpoint: &Arc<Endpoint<S>>| {
                let known = began.iter().find(|(known, _)| Arc::ptr_eq(known, endpoint));
                known.is_some_and(|(_, before)| endpoint.transport().trouble().failures > before.failures)
            };
            let now = self.all();
            if !now.is_empty() && now.iter().all(failed_since) {
                return Err(unreachable());
            }
            if timeout_at(end, changed).await.is_err() {
                return Err(unreachable());
            }
        }
    }

    fn all(&self) -> Endpoints<S> {
        Arc::clone(&self.endpoints.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S> fmt::Debug for Set<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Set").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}

fn unreachable() -> Status {
    let after = RETRY_AFTER_MS / 2 + rand::random_range(0..=RETRY_AFTER_MS);
    let fault = Fault::new(Reason::Unreachable, "the service cannot be reached; try again shortly");
    from_fault(fault.with_retry_after(Duration::from_millis(after)))
}

// === impl Tried ===

impl<S> Tried<S> {
    /// The call came back from `endpoint`, with that failure.
    pub(crate) fn note(&mut self, endpoint: &Arc<Endpoint<S>>, failure: Status) {
        if matches!(to_fault(&failure).reason, Reason::BreakerOpen | Reason::BulkheadFull) {
            self.refused.push(Arc::clone(endpoint));
        }
        self.failure = Some(failure);
    }

    /// What to tell the caller when there is nobody left to try.
    pub(crate) fn failure(&mut self) -> Status {
        self.failure.take().unwrap_or_else(unreachable)
    }

    fn has(&self, endpoint: &Arc<Endpoint<S>>) -> bool {
        self.refused.iter().any(|refused| Arc::ptr_eq(refused, endpoint))
    }
}

impl<S> Default for Tried<S> {
    fn default() -> Self {
        Self { refused: Vec::new(), failure: None }
    }
}

// === impl Waiting ===

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Option<Self> {
        let more = |waiting: usize| (waiting < WAITING_MAX).then_some(waiting + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
