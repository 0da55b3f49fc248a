//! Who follows which order, and how they hear that it has moved.
//!
//! A hint, not a message: followers read what happened from the store, so one that is slow or late misses nothing, and
//! nothing is kept for it. The writer's session tells the hub after each commit, whoever asked for the move and whether
//! or not that caller is still there.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use spillway_storage::{Session, StoreError};
use spillway_types::{Fault, OrderId, Reason, Timestamp};
use tokio::sync::watch;

/// Followed orders. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    followers_max: usize,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    orders: HashMap<OrderId, watch::Sender<()>>,
    followers: usize,
}

/// Somebody who follows an order, until dropped.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    order_id: OrderId,
    moved: watch::Receiver<()>,
}

/// A session that tells a hub what it has committed.
#[derive(Debug)]
pub struct Announcing<S> {
    inner: S,
    hub: Hub,
    touched: Vec<OrderId>,
}

// === impl Hub ===

impl Hub {
    /// A hub for at most `followers_max` followers at a time.
    pub fn new(followers_max: usize) -> Self {
        Self { shared: Arc::new(Shared { followers_max, followed: Mutex::default() }) }
    }

    /// Follows an order, which need not exist yet. Whatever is committed after this call is heard of.
    ///
    /// # Errors
    /// `SHED` when there are too many followers already.
    pub fn follow(&self, order_id: OrderId) -> Result<Follower, Fault> {
        let mut followed = self.lock();
        if followed.followers >= self.shared.followers_max {
            let text = "too many orders are being followed here; try again shortly, or on another replica";
            return Err(Fault::new(Reason::Shed, text).with("limit", "followers"));
        }
        followed.followers += 1;
        let moved = followed.orders.entry(order_id).or_insert_with(|| watch::Sender::new(())).subscribe();
        Ok(Follower { hub: self.clone(), order_id, moved })
    }

    /// Wakes the followers of these orders.
    fn announce(&self, orders: impl IntoIterator<Item = OrderId>) {
        let followed = self.lock();
        if followed.orders.is_empty() {
            return;
        }
        for moved in orders.into_iter().filter_map(|order_id| followed.orders.get(&order_id)) {
            moved.send_replace(());
        }
    }

    /// How many orders are followed, and by how many.
    pub fn totals(&self) -> (usize, usize) {
        let followed = self.lock();
        (followed.orders.len(), followed.followers)
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.shared.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Follower ===

impl Follower {
    /// Resolves once the order has moved since the last call, or since it is followed.
    pub async fn moved(&mut self) {
        if self.moved.changed().await.is_err() {
            // Cannot happen: the hub keeps the other end for as long as anybody follows. If it did, there is no news.
            std::future::pending().await
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut followed = self.hub.lock();
        followed.followers -= 1;
        // This follower's own receiver is still counted.
        if followed.orders.get(&self.order_id).is_some_and(|moved| moved.receiver_count() <= 1) {
            followed.orders.remove(&self.order_id);
        }
    }
}

// === impl Announcing ===

impl<S: Session> Announcing<S> {
    pub(super) const fn new(inner: S, hub: Hub) -> Self {
        Self { inner, hub, touched: Vec::new() }
    }

    pub(super) const fn inner(&mut self) -> &mut S {
        &mut self.inner
    }

    /// What the transaction has touched so far, announced if and when it commits.
    pub(super) fn touch(&mut self, orders: impl IntoIterator<Item = OrderId>) {
        self.touched.extend(orders);
    }
}

#[async_trait]
impl<S: Session> Session for Announcing<S> {
    async fn begin(&mut self) -> Result<Timestamp, StoreError> {
        self.inner.begin().await
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let touched = mem::take(&mut self.touched);
        self.inner.commit().await?;
        self.hub.announce(touched);
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.touched.clear();
        self.inner.rollback().await
    }

    async fn mark_published(&mut self, positions: &[i64], now: Timestamp) -> Result<(), StoreError> {
        self.inner.mark_published(positions, now).await
    }

    async fn forget_records(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.forget_records(now).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::tests::fresh_id;

    #[test]
    fn followers_hear_of_their_order_only_and_leave_nothing_behind() {
        let (hub, one, other) = (Hub::new(3), fresh_id(), fresh_id());
        let (mut first, mut second) = (hub.follow(one).unwrap(), hub.follow(one).unwrap());
        let mut third = hub.follow(other).unwrap();
        assert_eq!(hub.follow(other).unwrap_err().reason, Reason::Shed);

        hub.announce([one, fresh_id()]);
        assert!(first.moved().now_or_never().is_some() && second.moved().now_or_never().is_some());
        assert!(first.moved().now_or_never().is_none(), "once a move");
        assert!(third.moved().now_or_never().is_none());

        drop(first);
        hub.announce([one]);
        assert!(second.moved().now_or_never().is_some(), "who stays still hears");
        drop((second, third));
        assert_eq!(hub.totals(), (0, 0));
    }
}
