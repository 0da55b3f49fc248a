//! Hints between replicas: followers hear of moves that another replica committed.
//!
//! `NOTIFY` carries them, since the database is the one thing that all replicas have, Redis or not. It is not part of the
//! committing transaction: a commit that notifies takes a lock of the whole server and holds it until its log is on disk,
//! so all such commits, of all services, queue behind one another (eight sessions that notify commit less than half as
//! often as eight that do not, on a disk that costs next to nothing). A session of its own notifies after the commit,
//! asynchronously as far as the disk goes, some milliseconds' moves at a time, for 50 microseconds each time. Followers
//! next door hear of a move in about 5 ms.
//!
//! A hint may get lost: this process may die right after a commit, its queue be full, the connection break. So the orders
//! that are followed here are swept as well: seldom while hints flow, often while they do not (a server or a proxy without
//! `LISTEN` is only slower). One sweep serves all followers: a thousand orders are 2 ms of the server's time, where a
//! question a follower would be as many questions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use spillway_storage::postgres::Database;
use spillway_types::OrderId;
use sqlx::{
    Row,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::store::hub::Hub;

mod payload;

/// The channel. Names are a database's own, so other services cannot be overheard.
const CHANNEL: &str = "order_moved";
/// Moves that wait to be told: some seconds' worth of a busy service, of 24 bytes each. More are dropped.
const QUEUE_MAX: usize = 16_384;
/// Moves in one statement; some twenty notifications.
const BATCH_MAX: usize = 4_096;
/// Pause between two statements. Moves of a busy moment go together; a lonely one goes at once.
const PACE: Duration = Duration::from_millis(5);
/// How long the server may take to take a connection, a notification or a ping.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How long a connection may be silent before it is asked whether it lives: a peer that was cut off says nothing.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Pause before connecting again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// Pause between two sweeps while hints flow: the longest delay of a move whose hint was lost.
const SWEEP_SELDOM: Duration = Duration::from_secs(1);
/// Pause between two sweeps while they do not: what a follower then waits for a move, a quarter of a second at most.
const SWEEP_OFTEN: Duration = Duration::from_millis(200);
/// Followed orders in one question, which holds up a reading connection for 2 ms.
const SWEEP_MAX: usize = 1_000;

/// The committers' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Teller {
    queue: mpsc::Sender<(OrderId, i64)>,
    shared: Arc<Shared>,
}

/// The workers that carry hints: to the other replicas, and from them to this one's hub.
#[derive(Debug)]
pub struct Hints {
    database: Database,
    hub: Hub,
    queue: mpsc::Receiver<(OrderId, i64)>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether this replica hears the others.
    listening: AtomicBool,
    /// Wakes the sweeper when hints may have been missed.
    missed: Notify,
    told: AtomicU64,
    dropped: AtomicU64,
    heard: AtomicU64,
    swept: AtomicU64,
}

/// What has become of hints so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Moves told to the other replicas.
    pub told: u64,
    /// Moves that could not be told.
    pub dropped: u64,
    /// Moves heard of from a replica that were news to a follower.
    pub heard: u64,
    /// Moves found by sweeping that were news to a follower.
    pub swept: u64,
}

/// Hints between the replicas on `database`, for the followers in `hub`.
pub fn open(database: Database, hub: Hub) -> (Teller, Hints) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let shared = Arc::new(Shared::default());
    (Teller { queue: sender, shared: Arc::clone(&shared) }, Hints { database, hub, queue, shared })
}

// === impl Teller ===

impl Teller {
    /// Has the other replicas told.
    pub(in crate::store) fn tell(&self, moved: impl IntoIterator<Item = (OrderId, i64)>) {
        for hint in moved {
            if self.queue.try_send(hint).is_err() {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether this replica hears the others, for health: followed orders are swept while it does not.
    ///
    /// # Errors
    /// Says so while it does not.
    pub fn check(&self) -> Result<(), String> {
        if self.is_listening() { Ok(()) } else { Err("not listening to the other replicas".to_owned()) }
    }

    /// Whether this replica hears the others at the moment.
    pub fn is_listening(&self) -> bool {
        self.shared.listening.load(Ordering::Relaxed)
    }

    /// What has become of hints so far.
    pub fn totals(&self) -> Totals {
        let Shared { told, dropped, heard, swept, .. } = &*self.shared;
        let [told, dropped, heard, swept] = [told, dropped, heard, swept].map(|total| total.load(Ordering::Relaxed));
        Totals { told, dropped, heard, swept }
    }
}

// === impl Hints ===

impl Hints {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { database, hub, queue, shared } = self;
        let sweep = sweep_again_and_again(&database, &hub, &shared);
        let exchange = Box::pin(exchange_again_and_again(&database, &hub, queue, &shared));
        // Whatever is dropped here is a read or a hint.
        stop.run_until_cancelled(futures_util::future::join(sweep, exchange)).await;
    }
}

async fn exchange_again_and_again(
    database: &Database,
    hub: &Hub,
    mut queue: mpsc::Receiver<(OrderId, i64)>,
    shared: &Shared,
) {
    let mut is_first = true;
    loop {
        let ended = exchange(database, hub, &mut queue, shared).await;
        // Said once an outage.
        if shared.listening.swap(false, Ordering::Relaxed) || is_first {
            let reason = ended.map_or_else(|error| error.to_string(), |()| "the connection broke".to_owned());
            tracing::warn!(reason, "no hints between replicas; followed orders are swept instead");
        }
        is_first = false;
        shared.missed.notify_one();
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Tells and listens on one connection, until it breaks.
async fn exchange(
    database: &Database,
    hub: &Hub,
    queue: &mut mpsc::Receiver<(OrderId, i64)>,
    shared: &Shared,
) -> Result<(), sqlx::Error> {
    let mut listener = in_time(listen(database)).await?;
    shared.listening.store(true, Ordering::Relaxed);
    tracing::debug!("listening for hints of other replicas");
    // What was told before this replica listened.
    shared.missed.notify_one();
    let mut may_tell_at = Instant::now();
    let mut moved = Vec::with_capacity(BATCH_MAX);
    loop {
        let may_tell = Instant::now() >= may_tell_at;
        tokio::select! {
            heard = listener.try_recv() => {
                let Some(notification) = heard? else { return Ok(()) };
                let news = hub.announce(payload::read(notification.payload()));
                add(&shared.heard, news);
            }
            received = queue.recv_many(&mut moved, BATCH_MAX), if may_tell => {
                if received == 0 {
                    // The writer has ended, and this process is about to.
                    return std::future::pending().await;
                }
                tell(&mut listener, &mut moved, shared).await?;
                may_tell_at = Instant::now() + PACE;
            }
            () = tokio::time::sleep_until(may_tell_at), if !may_tell => {}
            () = tokio::time::sleep(SILENCE_MAX) => {
                in_time(sqlx::query("select 1").execute(&mut listener)).await?;
            }
        }
    }
}

/// A connection that listens. Its commits do not wait for the disk: a hint need not survive the server.
async fn listen(database: &Database) -> Result<PgListener, sqlx::Error> {
    let options =
        database.options().clone().application_name("spillway hints").options([("synchronous_commit", "off")]);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(ANSWER_WAIT)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    // What came while there was no connection is lost, and the caller has to know.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Tells what moved, and leaves `moved` empty.
async fn tell(listener: &mut PgListener, moved: &mut Vec<(OrderId, i64)>, shared: &Shared) -> Result<(), sqlx::Error> {
    let orders = moved.len();
    // Of several moves of an order, the last is enough.
    let latest: BTreeMap<OrderId, i64> = moved.drain(..).collect();
    let payloads = payload::write(&latest);
    let query = sqlx::query("select pg_notify($1, payload) from unnest($2::text[]) payload");
    let told = in_time(query.bind(CHANNEL).bind(payloads).execute(listener)).await;
    add(if told.is_ok() { &shared.told } else { &shared.dropped }, orders);
    told.map(drop)
}

async fn sweep_again_and_again(database: &Database, hub: &Hub, shared: &Shared) {
    let mut is_failing = false;
    loop {
        let pause = if shared.listening.load(Ordering::Relaxed) { SWEEP_SELDOM } else { SWEEP_OFTEN };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.missed.notified() => {}
        }
        match sweep(database, hub).await {
            Ok(news) => {
                add(&shared.swept, news);
                is_failing = false;
            }
            Err(error) if is_failing => tracing::debug!(%error, "followed orders still not swept"),
            Err(error) => {
                tracing::warn!(%error, "followed orders not swept");
                is_failing = true;
            }
        }
    }
}

/// Asks for the versions of the orders that are followed here. Says how many were news.
async fn sweep(database: &Database, hub: &Hub) -> Result<usize, sqlx::Error> {
    let mut news = 0;
    for orders in hub.followed().chunks(SWEEP_MAX) {
        let ids: Vec<_> = orders.iter().map(|order_id| order_id.uuid()).collect();
        let versions = sqlx::query("select order_id, version from orders where order_id = any($1)").bind(ids);
        let rows = in_time(versions.fetch_all(database.readers())).await?;
        news += hub.announce(rows.iter().map(|row| (OrderId::new(row.get(0)), row.get(1))));
    }
    Ok(news)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let in_time = tokio::time::timeout(ANSWER_WAIT, answer).await;
    in_time.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

fn add(total: &AtomicU64, count: usize) {
    total.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}
