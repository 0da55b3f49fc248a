//! Doubles for the tests of the rungs.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use spillway_types::{Code, Fault, Reason};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{
    BoxFuture, ResponseBody,
    balance::{Handback, Reach, Trouble},
    classify,
    policy::{Policies, Policy},
    status::{PUSHBACK, from_fault, from_tonic, to_fault},
};

pub(crate) const READ: &str = "/shop.v1.Shop/Read";
pub(crate) const WRITE: &str = "/shop.v1.Shop/Write";
pub(crate) const REPEATABLE: &str = "/shop.v1.Shop/Repeatable";
pub(crate) const WATCH: &str = "/shop.v1.Shop/Watch";

/// What a double does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A message, and OK in the trailers.
    Good,
    /// A refusal without a body, as tonic's servers send it.
    Refusal(Code),
    /// The same, with `grpc-retry-pushback-ms`.
    Pushback(Code, &'static str),
    /// A message, and then a failure in the trailers.
    Late(Code),
    /// The transport fails.
    Broken(Code),
    /// The transport fails before anything was sent.
    NeverSent,
    /// A refusal by a process that is going.
    Leaving,
    /// Never answers.
    Hang,
    /// Answers, but never comes to the end.
    HangInBody,
    /// Answers after a while.
    After(Duration, Box<Answer>),
}

/// A server as a rung sees it: answers by a script, the last line of which is repeated, and remembers what it was
/// asked. Insists on the readiness law: panics when called without having been polled ready, and a clone has not been.
#[derive(Debug)]
pub(crate) struct Double {
    shared: Arc<Mutex<Shared>>,
    ready: bool,
}

#[derive(Debug)]
struct Shared {
    script: VecDeque<Answer>,
    seen: Vec<Seen>,
    standing: Standing,
}

/// A double's connection.
#[derive(Debug, Default)]
struct Standing {
    lost: bool,
    trouble: Trouble,
    /// Attempts to connect, of which a nudge makes one, fail at once.
    refused: Option<Arc<Notify>>,
}

/// A call that reached a double.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

pub(crate) fn policies() -> Policies {
    Policies::new([
        (READ, Policy::read()),
        (WRITE, Policy::write(false)),
        (REPEATABLE, Policy::write(true)),
        (WATCH, Policy::stream()),
    ])
}

pub(crate) fn request(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::new(Full::new(Bytes::from_static(b"request")))).unwrap()
}

/// Makes a call by the rules.
pub(crate) async fn call<S, B>(service: &mut S, request: Request<Body>) -> Result<Response<B>, S::Error>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// Makes a call, reads the answer to its end, and says how it went.
pub(crate) async fn outcome<S, B>(service: &mut S, request: Request<Body>) -> Code
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status>,
    B: ResponseBody,
{
    match call(service, request).await {
        Ok(response) => ending(response).await,
        Err(status) => from_tonic(status.code()),
    }
}

/// Reads an answer to its end.
pub(crate) async fn ending<B: ResponseBody>(response: Response<B>) -> Code {
    if let Some(code) = classify::early_code(&response) {
        return code;
    }
    match Box::pin(response.into_body()).collect().await {
        Ok(whole) => {
            let trailers = whole.trailers().and_then(Status::from_header_map);
            trailers.map_or(Code::Unknown, |status| from_tonic(status.code()))
        }
        Err(status) => from_tonic(status.code()),
    }
}

/// The reason of a local refusal.
pub(crate) fn reason<T>(answer: &Result<T, Status>) -> Option<Reason> {
    answer.as_ref().err().map(|status| to_fault(status).reason)
}

fn respond(code: Code, frames: Vec<Result<Frame<Bytes>, Status>>, hang: bool) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from(code as i32));
    let frames = stream::iter(frames);
    let body = if hang {
        Body::new(StreamBody::new(frames.chain(stream::pending())))
    } else {
        Body::new(StreamBody::new(frames.chain(stream::iter([Ok(Frame::trailers(trailers))]))))
    };
    Response::new(body)
}

// === impl Answer ===

impl Answer {
    async fn give(self) -> Result<Response<Body>, Status> {
        let message = || vec![Ok(Frame::data(Bytes::from_static(b"answer")))];
        match self {
            Self::Good => Ok(respond(Code::Ok, message(), false)),
            Self::Late(code) => Ok(respond(code, message(), false)),
            Self::HangInBody => Ok(respond(Code::Ok, message(), true)),
            Self::Refusal(code) => Ok(Status::new(tonic::Code::from_i32(code as i32), "refused").into_http()),
            Self::Pushback(code, text) => {
                let mut response = Status::new(tonic::Code::from_i32(code as i32), "refused").into_http();
                response.headers_mut().insert(PUSHBACK, HeaderValue::from_static(text));
                Ok(response)
            }
            Self::NeverSent => Err(from_fault(Fault::new(Reason::Unreachable, "not sent"))),
            Self::Leaving => Ok(from_fault(Fault::new(Reason::Draining, "going")).into_http()),
            Self::Broken(code) => Err(Status::new(tonic::Code::from_i32(code as i32), "broken")),
            Self::Hang => pending().await,
            Self::After(wait, answer) => {
                sleep(wait).await;
                Box::pin(answer.give()).await
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn next(&mut self) -> Option<Answer> {
        if self.script.len() > 1 { self.script.pop_front() } else { self.script.front().cloned() }
    }
}

// === impl Double ===

impl Double {
    pub(crate) fn new(script: impl IntoIterator<Item = Answer>) -> Self {
        let shared = Shared { script: script.into_iter().collect(), seen: Vec::new(), standing: Standing::default() };
        Self { shared: Arc::new(Mutex::new(shared)), ready: false }
    }

    /// What reached it so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().unwrap().seen.clone()
    }

    /// How many calls reached it so far.
    pub(crate) fn calls(&self) -> usize {
        self.shared.lock().unwrap().seen.len()
    }

    /// From now on it answers by another script.
    pub(crate) fn now(&self, script: impl IntoIterator<Item = Answer>) {
        self.shared.lock().unwrap().script = script.into_iter().collect();
    }

    /// It has a connection from now on, or has none and is about to get one.
    pub(crate) fn connected(&self, connected: bool) {
        let standing = &mut self.shared.lock().unwrap().standing;
        *standing = Standing { lost: !connected, ..Standing::default() };
    }

    /// It has no connection, and every attempt to make one fails, which `changed` is told of.
    pub(crate) fn refuse(&self, changed: &Arc<Notify>) {
        let trouble = Trouble { failures: 1, gone: true };
        self.shared.lock().unwrap().standing = Standing { lost: true, trouble, refused: Some(Arc::clone(changed)) };
    }
}

impl Reach for Double {
    fn is_ready(&self) -> bool {
        !self.shared.lock().unwrap().standing.lost
    }

    fn trouble(&self) -> Trouble {
        self.shared.lock().unwrap().standing.trouble
    }

    fn nudge(&self) {
        let standing = &mut self.shared.lock().unwrap().standing;
        if let Some(changed) = standing.refused.clone() {
            standing.trouble.failures += 1;
            changed.notify_waiters();
        }
    }
}

impl Clone for Double {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), ready: false }
    }
}

impl Service<Request<Body>> for Double {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        let shared = Arc::clone(&self.shared);
        let at = Instant::now();
        Box::pin(async move {
            let answer = shared.lock().unwrap().next();
            if matches!(answer, Some(Answer::NeverSent)) {
                Handback::give(request);
            } else {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                shared.lock().unwrap().seen.push(Seen { at, head, body });
            }
            answer.unwrap_or(Answer::Good).give().await
        })
    }
}
