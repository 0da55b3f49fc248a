//! Views of sagas that another process drives: their rows are read again and again, all of them with one query, for as
//! long as somebody looks.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use super::{Feed, Handle, Shared};
use crate::{
    context::SagaId,
    log::SagaRow,
    snapshot::{Fate, Snapshot},
};

/// The pause between two readings: short for a caller who waits, and a query of a few rows for the log.
const INTERVAL: Duration = Duration::from_millis(100);

/// Who looks at which saga.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    by_saga: HashMap<SagaId, Vec<Feed>>,
    /// Whether a task reads rows for them.
    is_fed: bool,
}

// === impl Shared ===

impl Shared {
    /// A view of a saga as its row is and, unless it is at rest, as it will be.
    pub(super) fn follow_row(self: &Arc<Self>, row: &SagaRow) -> Handle {
        if row.is_at_rest() { Handle::of_row(row) } else { self.follow(Arc::new(Snapshot::of_row(row))) }
    }

    /// A view of a saga, beginning with what is known of it.
    pub(super) fn follow(self: &Arc<Self>, known: Arc<Snapshot>) -> Handle {
        let feed = Arc::new(watch::Sender::new(known));
        let handle = Handle::new(feed.subscribe());
        self.keep_fed(feed);
        handle
    }

    /// Goes on feeding those who looked at a saga while it was driven here.
    pub(super) fn keep_fed(self: &Arc<Self>, feed: Feed) {
        if feed.receiver_count() == 0 || self.draining.is_cancelled() {
            return;
        }
        let id = feed.borrow().id;
        let mut feeds = self.feeds();
        feeds.by_saga.entry(id).or_default().push(feed);
        if !std::mem::replace(&mut feeds.is_fed, true) {
            let shared = Arc::clone(self);
            self.spawn(async move { shared.feed_all().await });
        }
    }

    async fn feed_all(self: &Arc<Self>) {
        loop {
            let Some(ids) = self.looked_at() else { return };
            match self.log.load_all(&ids).await {
                Ok(rows) => self.feed(&ids, &rows),
                Err(error) => warn!(%error, sagas = ids.len(), "sagas driven elsewhere could not be read"),
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = self.draining.cancelled() => {
                    // Their callers are answered with what was seen last.
                    *self.feeds() = Feeds::default();
                    return;
                }
            }
        }
    }

    /// The sagas that somebody still looks at; `None` when this task is not needed any more.
    fn looked_at(&self) -> Option<Vec<SagaId>> {
        let mut feeds = self.feeds();
        feeds.by_saga.retain(|_, feeds| {
            feeds.retain(|feed| feed.receiver_count() > 0);
            !feeds.is_empty()
        });
        feeds.is_fed = !feeds.by_saga.is_empty();
        feeds.is_fed.then(|| feeds.by_saga.keys().copied().collect())
    }

    fn feed(&self, asked: &[SagaId], rows: &[SagaRow]) {
        let mut feeds = self.feeds();
        let mut ended: HashSet<_> = asked.iter().copied().collect();
        for row in rows {
            let snapshot = Arc::new(Snapshot::of_row(row));
            for feed in feeds.by_saga.get(&row.id).into_iter().flatten() {
                feed.send_if_modified(|known| {
                    let is_news = !is_alike(known, &snapshot);
                    if is_news {
                        *known = Arc::clone(&snapshot);
                    }
                    is_news
                });
            }
            if !row.is_at_rest() {
                ended.remove(&row.id);
            }
        }
        // At rest, or never written. To those who look, it has left memory.
        feeds.by_saga.retain(|id, _| !ended.contains(id));
    }

    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a row says nothing that is not known. A driver that was here knew more of a saga under way than its row does.
fn is_alike(known: &Snapshot, row: &Snapshot) -> bool {
    known.status == row.status && (known.fate == row.fate || row.fate == Fate::Open) && known.wakeup == row.wakeup
}
