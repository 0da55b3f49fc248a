//! A body with an end in time. tower's and tonic's timeouts stop at the response headers, so that a stream or a slow
//! reader goes on for ever; ours run to the last frame.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use spillway_types::{Fault, Reason};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use crate::status::from_fault;

/// How a body says that its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By an error, to code on our side.
    Error,
    /// By trailers, to a caller on the wire: an error there would become a bare reset, which reads as CANCELLED.
    Trailers,
}

pin_project! {
    /// A body that ends with DEADLINE_EXCEEDED when its time is over.
    #[derive(Debug)]
    pub struct Timed<B> {
        #[pin]
        inner: B,
        #[pin]
        sleep: Option<Sleep>,
        ending: Ending,
        over: bool,
    }
}

/// The status for a call whose time is over.
pub(crate) fn late() -> Status {
    from_fault(Fault::new(
        Reason::DeadlineExceeded,
        "the deadline passed before the outcome was known; look it up, or try again with the same request_id",
    ))
}

// === impl Timed ===

impl<B> Timed<B> {
    /// A body that ends at `until`, if that is a time.
    pub(crate) fn new(inner: B, until: Option<Instant>, ending: Ending) -> Self {
        Self { inner, sleep: until.map(sleep_until), ending, over: false }
    }
}

impl<B: Body<Data = Bytes, Error = Status>> Body for Timed<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        // The frame first: what is there already is not late, however busy this task was.
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(sleep) = this.sleep.as_pin_mut() else { return Poll::Pending };
        if sleep.poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.over = true;
        Poll::Ready(Some(match this.ending {
            Ending::Error => Err(late()),
            Ending::Trailers => {
                let mut trailers = http::HeaderMap::new();
                late().add_header(&mut trailers).map(|()| Frame::trailers(trailers))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Cut short, a body has fewer bytes than it promised: promise nothing.
        if self.sleep.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}
