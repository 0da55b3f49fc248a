//! What is kept of a request, so that it can be sent again.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tonic::{Status, body::Body};

/// A request body, looked at once.
#[derive(Debug)]
pub(crate) enum Replay {
    /// Whole, and short enough to keep: each attempt gets a copy of the same bytes.
    Kept(Bytes),
    /// Too long, or a stream that is still being written: it can be sent once only.
    Once(Body),
}

/// What was read already, and then the rest.
struct Rest {
    head: Option<Bytes>,
    tail: Body,
}

// === impl Replay ===

impl Replay {
    /// Keeps a body of up to `limit` bytes. Never waits: a unary request is there at once, and waiting for a stream
    /// whose writer waits for our answer would never end.
    pub(crate) fn of(mut body: Body, limit: usize) -> Self {
        let mut kept = Bytes::new();
        while !body.is_end_stream() {
            match body.frame().now_or_never() {
                Some(None) => break,
                Some(Some(Ok(frame))) => {
                    // gRPC requests have no trailers; data is all there is to lose.
                    let Ok(data) = frame.into_data() else { continue };
                    kept = if kept.is_empty() { data } else { joined(&kept, &data) };
                    if kept.len() > limit {
                        return Self::once(kept, body);
                    }
                }
                Some(Some(Err(_))) | None => return Self::once(kept, body),
            }
        }
        Self::Kept(kept)
    }

    fn once(kept: Bytes, tail: Body) -> Self {
        Self::Once(Body::new(Rest { head: Some(kept), tail }))
    }
}

/// A fresh body of these bytes.
pub(crate) fn body(bytes: &Bytes) -> Body {
    Body::new(Full::new(bytes.clone()))
}

fn joined(head: &[u8], tail: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(head.len() + tail.len());
    whole.extend_from_slice(head);
    whole.extend_from_slice(tail);
    whole.freeze()
}

// === impl Rest ===

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.head.take() {
            Some(head) if !head.is_empty() => Poll::Ready(Some(Ok(Frame::data(head)))),
            _ => Pin::new(&mut self.tail).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.tail.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
