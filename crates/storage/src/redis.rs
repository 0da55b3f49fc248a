//! Redis, as something that may be gone at any moment.
//!
//! A few connections are shared by all callers, since each carries many calls at once: at 256 callers, one connection
//! each is less than half as fast. Nobody waits for a connection. A keeper makes and watches them, off the hot path, and
//! while there is none every call fails at once and its caller does without.
//!
//! Keys begin with `spillway:`, and what one script or command touches shares a hash tag, so that they can live on a
//! cluster.
//!
//! | module | holds |
//! |---|---|
//! | [`history`] | telling whether data may have been lost |
//! | [`lots`] | a rate that a fleet shares |
//! | `keeper` | the task that makes and watches the connections |

use std::{
    fmt, io,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool_redis::{
    Manager, Pool, PoolError, Runtime,
    redis::{AsyncConnectionConfig, ErrorKind, IntoConnectionInfo, ServerErrorKind, aio::MultiplexedConnection},
};
use tokio::sync::{Notify, watch};

use crate::config::{RedisConfig, secret};

pub mod history;
mod keeper;
pub mod lots;

pub use deadpool_redis::redis::{Cmd, FromRedisValue, Pipeline, Script, ScriptInvocation, cmd, pipe};

pub use self::history::History;

/// How long a new connection may take until it is of use, greetings and password included. A server that is there takes
/// a few milliseconds; one that is frozen must not hold up the keeper.
const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// Connections beside the shared ones: each blocking reader has one of its own. There is about one reader a consumer.
const DEDICATED_MAX: usize = 64;

/// A Redis server. Cheap to clone; the last clone takes the connections with it.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

/// There is no connection at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redis is down")]
pub struct RedisDown;

/// Why Redis did not do what it was asked to do. It may have done it all the same.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// There was no connection, so nothing was asked.
    #[error(transparent)]
    Down(#[from] RedisDown),
    /// It was asked, and said no or nothing.
    #[error("{doing}: {source}")]
    Failed {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        source: deadpool_redis::redis::RedisError,
    },
    /// It was done, but its data are new, and what was done may be gone with the old ones.
    #[error("{doing}: redis has lost its data")]
    DataLost {
        /// What was asked of it.
        doing: &'static str,
    },
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadRedis {
    /// The address.
    #[error("redis.url: {0}")]
    Url(deadpool_redis::redis::RedisError),
    /// The password's file.
    #[error("redis.password_file: {0}")]
    Password(io::Error),
    /// The pool.
    #[error("redis: {0}")]
    Pool(deadpool_redis::BuildError),
}

struct Shared {
    pool: Pool,
    /// The shared connections; an empty place waits for the keeper.
    places: Vec<RwLock<Option<deadpool_redis::Connection>>>,
    next: AtomicUsize,
    up: watch::Sender<bool>,
    changes: AtomicU64,
    /// Wakes the keeper when a call found a connection wanting.
    suspicion: Notify,
    /// Whether the connections are to be replaced, although they answer.
    renew: AtomicBool,
    response_wait: Duration,
}

// === impl Redis ===

impl Redis {
    /// A server by its settings. Connections are made in the background from now on; nothing is waited for.
    ///
    /// # Errors
    /// When the settings cannot be used. An absent server is no error.
    pub fn new(config: &RedisConfig) -> Result<Self, BadRedis> {
        let mut info = config.url.as_str().into_connection_info().map_err(BadRedis::Url)?;
        if let Some(password) = secret(&config.password_file).map_err(BadRedis::Password)? {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let response_wait = Duration::from_millis(config.timeout_ms);
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WAIT))
            .set_response_timeout(Some(response_wait));
        let manager = Manager::new_with_config(info, limits).map_err(BadRedis::Url)?;
        let connections = usize::try_from(config.connections).unwrap_or(usize::MAX).max(1);
        let pool = Pool::builder(manager)
            .max_size(connections.saturating_add(DEDICATED_MAX))
            .create_timeout(Some(CONNECT_WAIT))
            .wait_timeout(Some(Duration::ZERO))
            .recycle_timeout(Some(response_wait))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(BadRedis::Pool)?;
        let shared = Arc::new(Shared {
            pool,
            places: (0..connections).map(|_| RwLock::new(None)).collect(),
            next: AtomicUsize::new(0),
            up: watch::Sender::new(false),
            changes: AtomicU64::new(0),
            suspicion: Notify::new(),
            renew: AtomicBool::new(false),
            response_wait,
        });
        tokio::spawn(keeper::run(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// A shared connection, at once or not at all. Calls on it end after the configured time; who sees one fail tells
    /// [`Self::suspect`], as [`Self::query`] and its like do by themselves.
    ///
    /// # Errors
    /// While the server is down.
    pub fn connection(&self) -> Result<MultiplexedConnection, RedisDown> {
        let places = &self.shared.places;
        let first = self.shared.next.fetch_add(1, Ordering::Relaxed);
        (0..places.len())
            .find_map(|offset| {
                let place = places.get(first.wrapping_add(offset) % places.len())?;
                place.read().unwrap_or_else(PoisonError::into_inner).as_deref().cloned()
            })
            .ok_or(RedisDown)
    }

    /// A connection of the caller's own, for calls that block up to `block`.
    ///
    /// # Errors
    /// When the server does not take one more connection within a second.
    pub async fn dedicated(&self, block: Duration) -> Result<MultiplexedConnection, RedisDown> {
        if !self.is_up() {
            return Err(RedisDown);
        }
        let connection = self.shared.pool.get().await.map_err(|error| {
            tracing::debug!(%error, "no connection of one's own");
            RedisDown
        })?;
        let mut connection = deadpool_redis::Connection::take(connection);
        connection.set_response_timeout(block + self.shared.response_wait);
        Ok(connection)
    }

    /// Runs one command.
    ///
    /// # Errors
    /// When the server is down, does not answer in time, or refuses.
    pub async fn query<T: FromRedisValue>(&self, doing: &'static str, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.connection()?;
        command.query_async(&mut connection).await.map_err(|source| self.failed(doing, source))
    }

    /// Runs several commands in one round trip.
    ///
    /// # Errors
    /// As [`Self::query`]; some of the commands may have been carried out.
    pub async fn pipeline<T: FromRedisValue>(&self, doing: &'static str, pipeline: &Pipeline) -> Result<T, RedisError> {
        let mut connection = self.connection()?;
        pipeline.query_async(&mut connection).await.map_err(|source| self.failed(doing, source))
    }

    /// Runs a script by its hash, and sends the script itself to a server that does not know it yet.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn script<T: FromRedisValue>(
        &self,
        doing: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let mut connection = self.connection()?;
        script.invoke_async(&mut connection).await.map_err(|source| self.failed(doing, source))
    }

    /// Says what failed, and has the connections looked at if that may be their fault.
    pub fn failed(&self, doing: &'static str, source: deadpool_redis::redis::RedisError) -> RedisError {
        if source.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
            // It was a master and is a replica now. Its address may lead to another server already.
            self.shared.renew.store(true, Ordering::Relaxed);
            self.suspect();
        } else if source.is_io_error() || source.is_unrecoverable_error() {
            self.suspect();
        }
        RedisError::Failed { doing, source }
    }

    /// Has the keeper look at the connections now rather than at its next turn.
    pub fn suspect(&self) {
        self.shared.suspicion.notify_one();
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    /// Resolves when there is a connection.
    pub async fn up(&self) {
        // The sender lives in `shared`, so there is always something to wait for.
        drop(self.shared.up.subscribe().wait_for(|up| *up).await);
    }

    /// Whether there is a connection, for health: without one everything works, but slower.
    ///
    /// # Errors
    /// Says so when there is none.
    pub fn check(&self) -> Result<(), RedisDown> {
        if self.is_up() { Ok(()) } else { Err(RedisDown) }
    }

    /// How often it went up or down since the start.
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Relaxed)
    }

    /// Which data the server has: another answer than before means that some may have been lost.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn history(&self) -> Result<History, RedisError> {
        history::ask(self).await
    }

    /// Runs commands whose answers are ignored, and says which data they went to.
    ///
    /// # Errors
    /// As [`Self::query`]; and when the server has lost its data just now, or nobody has asked for the history yet.
    pub async fn with_history(&self, doing: &'static str, pipeline: Pipeline) -> Result<History, RedisError> {
        history::behind(self, doing, pipeline).await
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("is_up", &self.is_up()).field("changes", &self.changes()).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    async fn connect(&self) -> Result<deadpool_redis::Connection, PoolError> {
        self.pool.get().await
    }

    /// Notes the state, and says so when it is news. Only the keeper does this.
    fn note(&self, up: bool) {
        if *self.up.borrow() == up {
            return;
        }
        let total = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        if up {
            tracing::info!(total, "redis is up");
        } else {
            tracing::warn!(total, "redis is down; doing without it");
        }
        self.up.send_replace(up);
    }
}
