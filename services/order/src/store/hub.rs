//! Who follows which order, and how they hear that it has moved.
//!
//! A hint, not a message: followers read what happened from the store, so one that is slow or late misses nothing, and
//! nothing is kept for it but the latest version that anybody has heard of. Hints come from the writer's session after
//! each commit (whoever asked for the move, and whether or not that caller is still there), from other replicas, and from
//! followers who have just read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use spillway_types::{Fault, OrderId, Reason};
use tokio::sync::watch;

/// Below every version, a tombstone's (0) included.
const UNHEARD_OF: i64 = -1;

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
    /// By order, the latest version heard of.
    orders: HashMap<OrderId, watch::Sender<i64>>,
    followers: usize,
}

/// Somebody who follows an order, until dropped.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    order_id: OrderId,
    latest: watch::Receiver<i64>,
    /// The latest version that this follower knows of.
    known: i64,
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
        let latest = followed.orders.entry(order_id).or_insert_with(|| watch::Sender::new(UNHEARD_OF)).subscribe();
        Ok(Follower { hub: self.clone(), order_id, latest, known: UNHEARD_OF })
    }

    /// Takes note of versions that were committed, and wakes the followers who do not know of them yet. Says of how many
    /// orders that was news.
    pub fn announce(&self, moved: impl IntoIterator<Item = (OrderId, i64)>) -> usize {
        let followed = self.lock();
        if followed.orders.is_empty() {
            return 0;
        }
        let is_news = |(order_id, version)| {
            let latest = followed.orders.get(&order_id);
            latest.is_some_and(|latest| latest.send_if_modified(|known| raise(known, version)))
        };
        moved.into_iter().map(is_news).filter(|is_news| *is_news).count()
    }

    /// The orders that are followed.
    pub fn followed(&self) -> Vec<OrderId> {
        self.lock().orders.keys().copied().collect()
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

fn raise(known: &mut i64, version: i64) -> bool {
    let is_news = version > *known;
    *known = version.max(*known);
    is_news
}

// === impl Follower ===

impl Follower {
    /// Resolves once a version is heard of that this follower does not know, and takes it for known from then on.
    pub async fn moved(&mut self) {
        match self.latest.wait_for(|latest| *latest > self.known).await.map(|latest| *latest) {
            Ok(latest) => self.known = latest,
            // Cannot happen: the hub keeps the other end for as long as anybody follows. If it did, there is no news.
            Err(_) => std::future::pending().await,
        }
    }

    /// Notes a version that this follower has read by itself. Others, who may have missed it, hear of it.
    pub fn saw(&mut self, version: i64) {
        if raise(&mut self.known, version) {
            self.hub.announce([(self.order_id, version)]);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut followed = self.hub.lock();
        followed.followers -= 1;
        // This follower's own receiver is still counted.
        if followed.orders.get(&self.order_id).is_some_and(|latest| latest.receiver_count() <= 1) {
            followed.orders.remove(&self.order_id);
        }
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

        assert_eq!(hub.announce([(one, 0), (fresh_id(), 1)]), 1);
        assert!(first.moved().now_or_never().is_some() && second.moved().now_or_never().is_some());
        assert!(first.moved().now_or_never().is_none(), "once a move");
        assert!(third.moved().now_or_never().is_none());

        drop(first);
        assert_eq!(hub.announce([(one, 1)]), 1);
        assert!(second.moved().now_or_never().is_some(), "who stays still hears");
        drop((second, third));
        assert_eq!(hub.totals(), (0, 0));
    }

    #[test]
    fn a_hint_that_comes_late_or_twice_wakes_nobody_and_what_one_has_read_wakes_the_others() {
        let (hub, order_id) = (Hub::new(2), fresh_id());
        let (mut reader, mut other) = (hub.follow(order_id).unwrap(), hub.follow(order_id).unwrap());
        reader.saw(3);
        assert!(reader.moved().now_or_never().is_none(), "the reader knows");
        assert!(other.moved().now_or_never().is_some(), "the other does not");
        assert_eq!(hub.announce([(order_id, 2), (order_id, 3)]), 0);
        assert!(reader.moved().now_or_never().is_none() && other.moved().now_or_never().is_none());
        assert_eq!(hub.announce([(order_id, 4)]), 1);
        assert!(reader.moved().now_or_never().is_some() && other.moved().now_or_never().is_some());
    }
}
