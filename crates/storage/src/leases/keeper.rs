//! The task behind [`Leases`](super::Leases).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use spillway_types::id::Partition;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Census, LOCK_MS, PARTITIONS, RENEW_INTERVAL, RETRY_INTERVAL, STOP_AFTER, Standing, TTL, Tenant, lease};
use crate::{
    StoreError,
    postgres::{self, NOW},
};

pub(super) struct Keeper {
    database: postgres::Database,
    address: String,
    tenant: Arc<dyn Tenant>,
    told: watch::Sender<Standing>,
    connection: Option<PgConnection>,
    /// The name under which it lives; another one each time it begins anew.
    name: Option<Uuid>,
    /// The name that it had before, to be struck out.
    former: Option<Uuid>,
    held: BTreeSet<Partition>,
    /// When the last renewal was sent that succeeded.
    renewed: Instant,
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(
        database: postgres::Database,
        address: String,
        tenant: Arc<dyn Tenant>,
        told: watch::Sender<Standing>,
    ) -> Self {
        let (held, renewed) = (BTreeSet::new(), Instant::now());
        Self { database, address, tenant, told, connection: None, name: None, former: None, held, renewed }
    }

    pub(super) async fn run(mut self, closing: CancellationToken) {
        loop {
            let begun = Instant::now();
            let pause = match self.round().await {
                Ok(live) => {
                    self.tell(Some(live), None);
                    RENEW_INTERVAL
                }
                Err(error) => {
                    self.connection = None;
                    warn!(%error, held = self.held.len(), "leases could not be renewed");
                    self.tell(None, Some(error.to_string()));
                    RETRY_INTERVAL
                }
            };
            if !self.held.is_empty() && self.stops_at() <= Instant::now() {
                self.stop("no renewal for too long").await;
            }
            tokio::select! {
                () = closing.cancelled() => break,
                () = sleep_until(begun + pause) => {}
            }
        }
        self.hand_back().await;
    }

    /// When work under the leases has to have stopped, if there is no renewal before.
    fn stops_at(&self) -> Instant {
        self.renewed + STOP_AFTER
    }

    /// Renews, sees what there is, and goes for a fair share of it. Answers how many replicas live.
    async fn round(&mut self) -> Result<usize, StoreError> {
        let begun = Instant::now();
        let Some(census) = self.renew().await? else {
            self.stop("it was taken for dead").await;
            return Ok(0);
        };
        self.renewed = begun;
        self.tenant.renewed(self.stops_at());
        self.reconcile(&census).await?;
        let share = PARTITIONS.div_ceil(census.live.max(1));
        if self.held.len() > share {
            self.release(self.held.len() - share).await?;
        } else if self.held.len() < share && census.vacant > 0 {
            self.take(share - self.held.len()).await?;
        }
        Ok(census.live)
    }

    /// Lives on, if the database still knows this replica; a new one makes itself known first.
    async fn renew(&mut self) -> Result<Option<Census>, StoreError> {
        let name = match self.name {
            Some(name) => name,
            None => self.register().await?,
        };
        // What one statement changes, it does not see: hence `or id = $1`.
        let sql = AssertSqlSafe(format!(
            "with renewed as (update replica set expires_at = {NOW} + $2 where id = $1 returning id),
                  live    as (select id from replica where expires_at > {NOW} or id = $1)
             select (select count(*) from renewed),
                    (select count(*) from live),
                    (select count(*) from lease where holder is null or holder not in (select id from live)),
                    array(select partition from lease where holder = $1 order by partition),
                    array(select epoch from lease where holder = $1 order by partition)"
        ));
        let deadline = self.deadline();
        let connection = self.connection().await?;
        let query = sqlx::query(sql).bind(name).bind(micros(TTL)).fetch_one(connection);
        let row = within(deadline, "renewing leases", query).await?;
        if row.get::<i64, _>(0) == 0 {
            return Ok(None);
        }
        let ours = row.get::<Vec<i16>, _>(3).into_iter().zip(row.get::<Vec<i64>, _>(4));
        Ok(Some(Census {
            live: usize::try_from(row.get::<i64, _>(1)).unwrap_or(1),
            vacant: usize::try_from(row.get::<i64, _>(2)).unwrap_or_default(),
            ours: ours.map(|(partition, epoch)| lease(partition, epoch)).collect::<Result<_, _>>()?,
        }))
    }

    async fn register(&mut self) -> Result<Uuid, StoreError> {
        #[expect(clippy::disallowed_methods, reason = "a replica's name needs no slot or partition")]
        let name = Uuid::new_v4();
        let sql = AssertSqlSafe(format!(
            "with former as (delete from replica where id = $4)
             insert into replica (id, address, expires_at) values ($1, $2, {NOW} + $3)"
        ));
        let (address, former, deadline) = (self.address.clone(), self.former, self.deadline());
        let connection = self.connection().await?;
        let query = sqlx::query(sql).bind(name).bind(address).bind(micros(TTL)).bind(former).execute(connection);
        within(deadline, "joining the replicas", query).await?;
        (self.name, self.former) = (Some(name), None);
        info!(replica = %name, "joined the replicas");
        Ok(name)
    }

    /// Makes the tenant's partitions those that the database says are ours. They differ when an answer was lost, or when
    /// somebody took a partition in the very moment in which this replica came.
    async fn reconcile(&mut self, census: &Census) -> Result<(), StoreError> {
        let gone: Vec<_> = self.held.iter().filter(|held| !census.ours.contains_key(held)).copied().collect();
        if !gone.is_empty() {
            warn!(lost = gone.len(), "partitions have another holder");
            self.lose(&gone).await;
        }
        if census.ours.keys().any(|ours| !self.held.contains(ours)) {
            self.release_all_but_held().await?;
        }
        Ok(())
    }

    /// Hands over what is more than our share. The tenant stops there first.
    async fn release(&mut self, surplus: usize) -> Result<(), StoreError> {
        let surplus: Vec<_> = self.held.iter().rev().take(surplus).copied().collect();
        self.lose(&surplus).await;
        self.release_all_but_held().await?;
        info!(released = surplus.len(), held = self.held.len(), "partitions were handed over");
        Ok(())
    }

    /// Those that are locked at this moment are left for the next round.
    async fn release_all_but_held(&mut self) -> Result<(), StoreError> {
        let sql = "with ours as materialized (select partition from lease
                                               where holder = $1 and not partition = any($2)
                                               order by partition for update skip locked)
                   update lease set holder = null, epoch = epoch + 1 from ours where lease.partition = ours.partition";
        let kept: Vec<_> = self.held.iter().map(|partition| i16::from(partition.0)).collect();
        let (name, deadline) = (self.name, self.deadline());
        let query = sqlx::query(sql).bind(name).bind(kept).execute(self.connection().await?);
        within(deadline, "releasing leases", query).await.map(drop)
    }

    /// Takes vacant partitions. Holders that lapsed are struck out first: they cannot renew any more, so what they held
    /// stays vacant until somebody takes it.
    async fn take(&mut self, wanted: usize) -> Result<(), StoreError> {
        let strike = AssertSqlSafe(format!(
            "with lapsed as materialized (select id from replica where expires_at <= {NOW} for update skip locked)
             delete from replica using lapsed where replica.id = lapsed.id"
        ));
        let take = "with vacant as materialized (select partition from lease
                                                  where holder is null or holder not in (select id from replica)
                                                  order by partition limit $2 for update skip locked)
                    update lease set holder = $1, epoch = epoch + 1
                      from vacant where lease.partition = vacant.partition
                    returning lease.partition, lease.epoch";
        let (name, deadline) = (self.name, self.deadline());
        let connection = self.connection().await?;
        within(deadline, "striking out replicas", sqlx::query(strike).execute(&mut *connection)).await?;
        let query = sqlx::query(take).bind(name).bind(i64::try_from(wanted).unwrap_or(i64::MAX)).fetch_all(connection);
        let rows = within(deadline, "taking leases", query).await?;
        let taken: BTreeMap<_, _> =
            rows.iter().map(|row| lease(row.get(0), row.get(1))).collect::<Result<_, StoreError>>()?;
        if !taken.is_empty() {
            self.held.extend(taken.keys());
            info!(gained = taken.len(), held = self.held.len(), "partitions were taken");
            self.tenant.gained(&taken.into_iter().collect::<Vec<_>>());
        }
        Ok(())
    }

    /// The tenant stops; afterwards the partitions are not counted as held, whatever the database says.
    async fn lose(&mut self, lost: &[Partition]) {
        self.tenant.lost(lost).await;
        self.held.retain(|held| !lost.contains(held));
    }

    /// Stops everywhere. Under its name nothing is begun any more: what it held is taken anew, by whomever, under a higher
    /// epoch.
    async fn stop(&mut self, why: &str) {
        let held: Vec<_> = self.held.iter().copied().collect();
        error!(lost = held.len(), why, "stopped working");
        self.lose(&held).await;
        self.former = self.name.take().or(self.former);
        self.tell(None, Some(why.to_owned()));
    }

    async fn hand_back(&mut self) {
        let held: Vec<_> = self.held.iter().copied().collect();
        self.lose(&held).await;
        self.tell(None, None);
        let Some(name) = self.name else { return };
        let handed_back = async {
            self.release_all_but_held().await?;
            let deadline = self.deadline();
            let query = sqlx::query("delete from replica where id = $1").bind(name).execute(self.connection().await?);
            within(deadline, "leaving the replicas", query).await
        };
        match handed_back.await {
            Ok(_) => info!(released = held.len(), "left the replicas"),
            // They lapse by themselves.
            Err(error) => warn!(%error, "leases could not be handed back"),
        }
    }

    /// Until when a statement may take: no longer than work may go on without a renewal. Without any leases, that long.
    fn deadline(&self) -> Instant {
        if self.held.is_empty() { Instant::now() + STOP_AFTER } else { self.stops_at() }
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.connection.is_none() {
            let deadline = self.deadline();
            let connecting = async {
                let mut connection = self.database.connect("leases").await?;
                let sql = AssertSqlSafe(format!("set lock_timeout = {LOCK_MS}"));
                let limited = sqlx::query(sql).execute(&mut connection).await;
                limited.map_err(StoreError::database("limiting the leases' locks"))?;
                Ok(connection)
            };
            self.connection = Some(timeout_at(deadline, connecting).await.unwrap_or_else(|_| late("connecting"))?);
        }
        self.connection.as_mut().ok_or(StoreError::Stopped)
    }

    fn tell(&self, live: Option<usize>, trouble: Option<String>) {
        self.told.send_if_modified(|told| {
            let live = live.unwrap_or(told.live);
            let now = Standing { held: self.held.len(), live, trouble };
            let is_news = *told != now;
            *told = now;
            is_news
        });
    }
}

async fn within<T>(
    deadline: Instant,
    doing: &'static str,
    query: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout_at(deadline, query).await {
        Ok(done) => done.map_err(StoreError::database(doing)),
        Err(_) => late(doing),
    }
}

fn late<T>(doing: &'static str) -> Result<T, StoreError> {
    Err(StoreError::Database { doing, source: sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()) })
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
