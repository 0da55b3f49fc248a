//! One endpoint: its transport, the guards around it, its load.

use std::{fmt, future::poll_fn, sync::Arc};

use http::{Request, Response};
use tonic::{Status, body::Body};
use tower_service::Service;

use super::{Address, Balanced, is_leaving, load::Load};
use crate::{
    ResponseBody,
    attempt_timeout::AttemptTimeout,
    breaker::Breaker,
    bulkhead::Bulkhead,
    classify::{Observed, early_failure},
    status::from_tonic,
    transport::Transport,
};

/// A transport with the guards that every endpoint has for itself.
pub(crate) type Guarded<S> = Breaker<Bulkhead<AttemptTimeout<Transport<S>>>>;

/// What is asked of a transport before anything is sent.
pub(crate) trait Reach {
    /// A connection stands.
    fn is_ready(&self) -> bool;

    /// How connecting went so far.
    fn trouble(&self) -> Trouble;

    /// Somebody waits: connect now, if you were waiting for a better time.
    fn nudge(&self);
}

/// How connecting to an endpoint went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// How often it failed, ever.
    pub(crate) failures: u64,
    /// The last attempt failed.
    pub(crate) gone: bool,
}

/// One of the endpoints of a set.
pub(crate) struct Endpoint<S> {
    address: Address,
    transport: S,
    guarded: Guarded<S>,
    load: Arc<Load>,
}

// === impl Endpoint ===

impl<S: Clone> Endpoint<S> {
    pub(crate) fn new(address: Address, transport: S, guarded: Guarded<S>) -> Self {
        Self { address, transport, guarded, load: Load::new() }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn transport(&self) -> &S {
        &self.transport
    }

    /// What one more call costs here.
    pub(crate) fn cost(&self) -> u64 {
        self.load.cost()
    }

    /// Nothing speaks against it but the state of its connection.
    pub(crate) fn is_well(&self) -> bool {
        !self.load.is_leaving() && !self.guarded.is_open()
    }

    /// Sends one call.
    pub(crate) async fn send<B>(&self, request: Request<Body>) -> Result<Response<Balanced<B>>, Status>
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
        B: ResponseBody,
    {
        let flight = self.load.begin();
        let mut guarded = self.guarded.clone();
        poll_fn(|cx| guarded.poll_ready(cx)).await?;
        match guarded.call(request).await {
            Ok(response) => {
                if early_failure(&response).is_some_and(|status| is_leaving(&status)) {
                    self.load.leave_alone();
                }
                Ok(Observed::watch(response, flight))
            }
            Err(status) => {
                self.load.note(from_tonic(status.code()));
                Err(status)
            }
        }
    }
}

impl<S> fmt::Debug for Endpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}
