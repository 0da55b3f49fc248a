//! Leases on partitions of work, among the replicas of one service: each partition has one holder at a time.
//!
//! ```text
//!   every 0.5 s:  renew ─ census ─┬─ gone from our hands ──► tenant stops there
//!                                 ├─ more than our share ──► tenant stops there, then they are released
//!                                 └─ less than our share ──► vacant ones are taken, epoch + 1, tenant begins there
//!   no renewal for 1 s (by a clock that cannot be set): tenant stops everywhere, and we begin anew under another name
//! ```
//!
//! A replica has one row that says until when it lives, by the database's clock, so a renewal is one write however many
//! partitions it holds. A holder that lapsed is removed first; whoever is removed finds no row to renew. Everything that is
//! done under a lease locks its row `for share` and compares the epoch, which every taking and every release raises: so
//! the leases keep replicas out of each other's way, and the epochs keep them right, whatever clocks and networks do.
//!
//! The tables are `replica` and `lease`, in a migration of the service's own.

mod keeper;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use spillway_types::id::Partition;
use sqlx::{PgConnection, Row};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use self::keeper::Keeper;
use crate::{StoreError, postgres};

/// How many partitions there are.
pub const PARTITIONS: usize = 256;
/// How long a replica is taken for alive after its last renewal, by the database's clock: what takeover has to wait for.
const TTL: Duration = Duration::from_secs(2);
/// The pause between renewals: three may fail before anybody else notices.
const RENEW_INTERVAL: Duration = Duration::from_millis(500);
/// The pause after one that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// A holder without a renewal for this long stops. The rest of the TTL is for clocks that run at different rates, and for
/// stopping.
const STOP_AFTER: Duration = Duration::from_secs(1);
/// A lock that is not there within this time is somebody's transaction under the lease; it is tried again at the next
/// renewal, rather than let a renewal wait for it. In milliseconds.
const LOCK_MS: u32 = 100;

/// Whoever works under the leases.
#[async_trait]
pub trait Tenant: Send + Sync + 'static {
    /// The leases hold until then, whatever happens; nothing may be begun later.
    fn renewed(&self, until: Instant);

    /// Partitions are ours, each under an epoch that is higher than any before.
    fn gained(&self, gained: &[(Partition, i64)]);

    /// Partitions are not ours any more. Returns when nothing is done in them.
    async fn lost(&self, lost: &[Partition]);
}

/// Keeps a replica's leases, in a task of its own.
pub struct Leases {
    standing: watch::Receiver<Standing>,
    keeper: JoinHandle<()>,
    /// Hand everything back and end.
    closing: CancellationToken,
}

/// How a replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many partitions it holds.
    pub held: usize,
    /// How many replicas there are, itself included, as far as it knows.
    pub live: usize,
    /// What keeps it from renewing.
    pub trouble: Option<String>,
}

/// What the database says of the leases, at one moment.
#[derive(Debug)]
struct Census {
    /// Replicas that live, this one included.
    live: usize,
    /// What this one holds.
    ours: BTreeMap<Partition, i64>,
    /// How many nobody holds who lives.
    vacant: usize,
}

// === impl Leases ===

impl Leases {
    /// Joins the replicas on `database`, as the one to be reached at `address`, and keeps a fair share of the partitions for
    /// `tenant`.
    pub fn keep(database: postgres::Database, address: String, tenant: Arc<dyn Tenant>) -> Self {
        let (told, standing) = watch::channel(Standing::default());
        let closing = CancellationToken::new();
        let keeper = Keeper::new(database, address, tenant, told);
        let keeper = tokio::spawn(keeper.run(closing.clone()));
        Self { standing, keeper, closing }
    }

    /// How this replica stands, now and from now on.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Whether this replica may work.
    ///
    /// # Errors
    /// While it holds nothing: it has just come, or had to stop since it could not renew.
    pub fn check(&self) -> Result<(), String> {
        check(&self.standing)
    }

    /// The same question for whoever has no hold of this.
    pub fn probe(&self) -> impl Fn() -> Result<(), String> + Clone + use<> {
        let standing = self.standing.clone();
        move || check(&standing)
    }

    /// Gives every partition back, so that nobody has to wait for this replica to lapse.
    pub async fn hand_back(self) {
        self.closing.cancel();
        if let Err(error) = self.keeper.await {
            tracing::error!(%error, "the keeper of the leases ended badly");
        }
    }

    /// Ends without a word to anybody, as a crash would: the leases lapse by themselves.
    pub async fn abandon(self) {
        self.keeper.abort();
        // It was cancelled, and that is all there is to hear.
        let _ = self.keeper.await;
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("standing", &*self.standing.borrow()).finish_non_exhaustive()
    }
}

fn check(standing: &watch::Receiver<Standing>) -> Result<(), String> {
    let standing = standing.borrow();
    match &standing.trouble {
        _ if standing.held > 0 => Ok(()),
        Some(trouble) => Err(format!("no partition is held: {trouble}")),
        None => Err("no partition is held yet".to_owned()),
    }
}

/// Locks the leases of some partitions, so that nobody takes them before the transaction ends, and answers their epochs.
/// What is done under an older epoch must not be done.
///
/// # Errors
/// When the database fails.
pub async fn lock(
    connection: &mut PgConnection,
    partitions: impl IntoIterator<Item = Partition>,
) -> Result<BTreeMap<Partition, i64>, StoreError> {
    let wanted: Vec<_> = partitions.into_iter().map(|partition| i16::from(partition.0)).collect();
    let sql = "select partition, epoch from lease where partition = any($1) order by partition for share";
    let rows = sqlx::query(sql).bind(wanted).fetch_all(connection).await;
    rows.map_err(StoreError::database("locking leases"))?.iter().map(|row| lease(row.get(0), row.get(1))).collect()
}

fn lease(partition: i16, epoch: i64) -> Result<(Partition, i64), StoreError> {
    let partition = u8::try_from(partition).map_err(StoreError::corrupt)?;
    Ok((Partition(partition), epoch))
}
