//! The way back of a request that was never sent.

use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use tonic::body::Body;

/// Travels with a request as an extension. Whoever refuses the request before anything of it went out puts it in here,
/// and the balancer sends it elsewhere. So no request is copied for the rare one that needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handback(Arc<Mutex<Option<Request<Body>>>>);

// === impl Handback ===

impl Handback {
    /// Makes a way back for `request`, in place of an earlier one.
    pub(crate) fn attach(request: &mut Request<Body>) -> Self {
        let back = Self::default();
        request.extensions_mut().insert(back.clone());
        back
    }

    /// Gives `request` back, of which nothing was sent. Without a way back it is dropped.
    pub(crate) fn give(mut request: Request<Body>) {
        // Out of the request first: one that holds the place that holds it would never be freed.
        if let Some(Self(place)) = request.extensions_mut().remove::<Self>() {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
        }
    }

    /// The request, if it came back.
    pub(crate) fn take(&self) -> Option<Request<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
