//! What an outcome was, seen from the tower level. Retry, breaker and spans all ask here.
//!
//! A gRPC failure usually arrives as `Ok(http::Response)`: with `grpc-status` in the headers when there is no body
//! ("trailers-only"), else in the trailers behind the body. So an outcome has three places to be found in, and a body
//! has to be watched to its end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use spillway_types::Code;
use tonic::Status;

use crate::status::from_tonic;

/// Hears how a call ended. Dropped unheard when nobody waited for the end.
pub(crate) trait Observer {
    /// The call ended with `code`.
    fn ended(self, code: Code);
}

pin_project! {
    /// A response body that tells an observer how the call ended.
    #[derive(Debug)]
    pub struct Observed<B, O> {
        #[pin]
        inner: B,
        observer: Option<O>,
    }
}

/// The code, if the headers of this response already tell it; else its trailers will.
pub(crate) fn early_code<B>(response: &Response<B>) -> Option<Code> {
    match code_in(response.headers()) {
        Some(code) => Some(code),
        None if response.status() == StatusCode::OK => None,
        None => Some(code_of_http(response.status())),
    }
}

/// The status of a response without a body, if it is a failure.
pub(crate) fn early_failure<B>(response: &Response<B>) -> Option<Status> {
    let code = early_code(response).filter(|code| *code != Code::Ok)?;
    let status = Status::from_header_map(response.headers());
    Some(status.unwrap_or_else(|| Status::new(tonic::Code::from_i32(code as i32), response.status().to_string())))
}

/// The name of a code as OpenTelemetry and people write it.
pub(crate) fn words(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    let value = headers.get(Status::GRPC_STATUS)?;
    Some(from_tonic(tonic::Code::from_bytes(value.as_bytes())))
}

/// For answers of proxies, which know no gRPC: the table of gRPC's "HTTP to gRPC status code mapping".
fn code_of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

// === impl Observed ===

impl<B, O: Observer> Observed<B, O> {
    /// Watches a response to its end; one that has ended already is told of at once.
    pub(crate) fn watch(response: Response<B>, observer: O) -> Response<Self> {
        let observer = match early_code(&response) {
            Some(code) => {
                observer.ended(code);
                None
            }
            None => Some(observer),
        };
        response.map(|inner| Self { inner, observer })
    }

    /// A body with an observer that has nothing more to hear.
    pub(crate) fn unwatched(response: Response<B>) -> Response<Self> {
        response.map(|inner| Self { inner, observer: None })
    }
}

impl<B: Body<Data = Bytes, Error = Status>, O: Observer> Body for Observed<B, O> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        let code = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| code_in(trailers).unwrap_or(Code::Unknown)),
            Some(Err(status)) => Some(from_tonic(status.code())),
            // An answer without a status is cut off: whatever it was, we cannot know.
            None => Some(Code::Unknown),
        };
        if let Some(code) = code
            && let Some(observer) = this.observer.take()
        {
            observer.ended(code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
