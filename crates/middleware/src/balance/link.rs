//! One connection to one address, kept by a task of its own: off the path of calls, which find it there or not.
//!
//! Reconnects for ever, with pauses that grow, since a peer that comes back should get calls at once and not when one
//! of them happens to be risked on it.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header::USER_AGENT};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tower_service::Service;

use super::{Address, Handback, Reach, Trouble};
use crate::BoxFuture;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Driver = Connection<TokioIo<TcpStream>, Body, TokioExecutor>;

/// A peer that has not answered a SYN and the preface of HTTP/2 for this long is taken for gone; inside a data centre
/// it takes a millisecond.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often to ask a peer whether it is there. By default nobody asks, and TCP notices a dead peer after 15 minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after the first failure to connect; doubles from there, with a quarter of jitter.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause: so much later than its return a peer gets calls again.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Waiting calls shorten a pause, but not below this: a thousand of them are no reason for a thousand SYNs.
const NUDGED_PAUSE: Duration = Duration::from_millis(20);

/// A connection that ends sooner than this counts as a failure to connect: somebody accepts and hangs up.
const SHORT_LIFE: Duration = Duration::from_millis(100);

const AGENT: HeaderValue = HeaderValue::from_static(concat!("spillway/", env!("CARGO_PKG_VERSION")));

/// A transport to one address. Clones share the connection; the last one to go ends its task, and the calls that are
/// on the way then still end.
#[derive(Clone)]
pub(crate) struct Link {
    address: Address,
    standing: watch::Receiver<Standing>,
    nudge: Arc<Notify>,
    _task: Arc<AbortOnDropHandle<()>>,
}

/// There is no connection: the call was not sent.
#[derive(Debug, thiserror::Error)]
#[error("there is no connection to {0}")]
pub(crate) struct NotConnected(Address);

#[derive(Default)]
struct Standing {
    connection: Option<SendRequest<Body>>,
    trouble: Trouble,
}

/// The task behind a link.
struct Keeper {
    address: Address,
    standing: watch::Sender<Standing>,
    changed: Arc<Notify>,
    nudge: Arc<Notify>,
}

// === impl Link ===

impl Link {
    /// Connects, and tells `changed` of everything that happens. Panics outside of a tokio runtime.
    pub(crate) fn new(address: Address, changed: &Arc<Notify>) -> Self {
        let (sender, standing) = watch::channel(Standing::default());
        let nudge = Arc::new(Notify::new());
        let keeper = Keeper {
            address: address.clone(),
            standing: sender,
            changed: Arc::clone(changed),
            nudge: Arc::clone(&nudge),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
        Self { address, standing, nudge, _task: Arc::new(task) }
    }

    fn connection(&self) -> Option<SendRequest<Body>> {
        self.standing.borrow().connection.clone().filter(|connection| !connection.is_closed())
    }
}

impl Reach for Link {
    fn is_ready(&self) -> bool {
        self.standing.borrow().connection.as_ref().is_some_and(|connection| !connection.is_closed())
    }

    fn trouble(&self) -> Trouble {
        self.standing.borrow().trouble
    }

    fn nudge(&self) {
        self.nudge.notify_one();
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(mut connection) = self.connection() else {
            Handback::give(request);
            let error = NotConnected(self.address.clone());
            return Box::pin(async { Err(error.into()) });
        };
        *request.uri_mut() = self.address.at(request.uri());
        request.headers_mut().insert(USER_AGENT, AGENT);
        let call = connection.try_send_request(request);
        Box::pin(async move {
            match call.await {
                Ok(response) => Ok(response.map(Body::new)),
                Err(mut failed) => {
                    // What hyper gives back was still in its queue when the connection ended.
                    if let Some(unsent) = failed.take_message() {
                        Handback::give(unsent);
                    }
                    Err(failed.into_error().into())
                }
            }
        })
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("address", &self.address).field("ready", &self.is_ready()).finish()
    }
}

// === impl Keeper ===

impl Keeper {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            match self.connect().await {
                Ok((connection, driver)) => {
                    self.tell(|standing| {
                        standing.connection = Some(connection);
                        standing.trouble.gone = false;
                    });
                    if failures > 0 {
                        tracing::info!(peer = %self.address, "is reached again");
                    }
                    // Ends with the connection, and at a GOAWAY; the calls on it then go on without us.
                    if let Err(cause) = driver.await {
                        tracing::debug!(peer = %self.address, %cause, "the connection broke");
                    }
                    if began.elapsed() >= SHORT_LIFE {
                        failures = 0;
                        self.tell(|standing| standing.connection = None);
                        continue;
                    }
                }
                Err(cause) if failures == 0 => tracing::warn!(peer = %self.address, cause, "cannot be reached"),
                Err(cause) => tracing::debug!(peer = %self.address, cause, "still cannot be reached"),
            }
            failures += 1;
            self.tell(|standing| {
                standing.connection = None;
                standing.trouble.gone = true;
                standing.trouble.failures += 1;
            });
            self.pause(failures).await;
        }
    }

    async fn connect(&self) -> Result<(SendRequest<Body>, Driver), BoxError> {
        timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect(self.address.socket()).await?;
            stream.set_nodelay(true)?;
            let mut protocol = Builder::new(TokioExecutor::new());
            protocol
                .timer(TokioTimer::new())
                .keep_alive_interval(KEEPALIVE_INTERVAL)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true);
            Ok(protocol.handshake(TokioIo::new(stream)).await?)
        })
        .await?
    }

    async fn pause(&self, failures: u32) {
        let began = Instant::now();
        let doubled = PAUSE_MIN.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        let pause = doubled.min(PAUSE_MAX) * rand::random_range(75..=125) / 100;
        tokio::select! {
            () = sleep(pause) => {}
            () = self.nudge.notified() => sleep_until(began + NUDGED_PAUSE).await,
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_modify(change);
        self.changed.notify_waiters();
    }
}
