//! Who is told of what was committed: followers here, the other replicas, the read cache.
//!
//! None of them is waited for, and none of them can fail a commit: a follower looks again by itself, a replica sweeps what
//! it missed, and the cache is only ever asked when the store does not answer.

use async_trait::async_trait;
use spillway_storage::{Session, StoreError, Tracked};
use spillway_types::{OrderId, Timestamp};

use super::{cache::Feed, hub::Hub, postgres::hints::Teller};
use crate::domain::Order;

/// Whoever wants to hear of moves.
#[derive(Clone, Debug)]
pub struct Audience {
    /// Followers in this process.
    pub hub: Hub,
    /// Followers in other replicas.
    pub replicas: Option<Teller>,
    /// The read cache.
    pub cache: Option<Feed>,
}

/// A session that tells an audience what it has committed.
#[derive(Debug)]
pub struct Announcing<S> {
    inner: S,
    audience: Audience,
    moved: Vec<(OrderId, i64)>,
    /// The orders themselves, if there is a cache that wants them.
    orders: Vec<Order>,
}

// === impl Audience ===

impl Audience {
    /// Only the followers in this process.
    pub const fn local(hub: Hub) -> Self {
        Self { hub, replicas: None, cache: None }
    }
}

// === impl Announcing ===

impl<S: Session> Announcing<S> {
    pub(super) const fn new(inner: S, audience: Audience) -> Self {
        Self { inner, audience, moved: Vec::new(), orders: Vec::new() }
    }

    pub(super) const fn inner(&mut self) -> &mut S {
        &mut self.inner
    }

    /// What the transaction writes, told if and when it commits.
    pub(super) fn touch(&mut self, orders: &Tracked<OrderId, Order>) {
        let written = || orders.inserted().chain(orders.updated()).map(|(_, order)| order);
        self.moved.extend(written().map(|order| (order.order_id, order.version)));
        if self.audience.cache.is_some() {
            self.orders.extend(written().cloned());
        }
    }

    fn tell(&mut self) {
        let Audience { hub, replicas, cache } = &self.audience;
        hub.announce(self.moved.iter().copied());
        if let Some(replicas) = replicas {
            replicas.tell(self.moved.drain(..));
        }
        if let Some(cache) = cache {
            cache.put(self.orders.drain(..));
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.moved.clear();
        self.orders.clear();
    }
}

#[async_trait]
impl<S: Session> Session for Announcing<S> {
    async fn begin(&mut self) -> Result<(), StoreError> {
        self.inner.begin().await
    }

    async fn now(&mut self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.inner.commit().await?;
        self.tell();
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.forget();
        self.inner.rollback().await
    }

    async fn mark_published(&mut self, positions: &[i64], now: Timestamp) -> Result<(), StoreError> {
        self.inner.mark_published(positions, now).await
    }

    async fn forget_records(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.forget_records(now).await
    }
}
