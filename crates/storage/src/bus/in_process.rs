//! The bus of embedded mode: consumers are called by the relay itself. Events need no store between, since the outbox
//! keeps each until every consumer has taken it or put it aside.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Bus, Consumer, Event, Letterbox, NotPublished, delivery::Delivery};

/// The bus of one process.
pub struct InProcessBus {
    deliveries: RwLock<Vec<Arc<Delivery>>>,
    stop: CancellationToken,
    _stop_with_us: DropGuard,
}

// === impl InProcessBus ===

impl Default for InProcessBus {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self { deliveries: RwLock::default(), _stop_with_us: stop.clone().drop_guard(), stop }
    }
}

impl InProcessBus {
    fn deliveries(&self) -> Vec<Arc<Delivery>> {
        self.deliveries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Bus for InProcessBus {
    fn subscribe(&self, consumer: Arc<dyn Consumer>, letterbox: Arc<dyn Letterbox>) {
        let delivery = Arc::new(Delivery::new(consumer, letterbox));
        tokio::spawn(Arc::clone(&delivery).replay_until(self.stop.clone()));
        self.deliveries.write().unwrap_or_else(PoisonError::into_inner).push(delivery);
    }

    async fn publish(&self, events: &[Event]) -> Result<String, NotPublished> {
        let mut trouble = None;
        for delivery in self.deliveries() {
            let wanted: Vec<Event> = events.iter().filter(|event| delivery.wants(event)).cloned().collect();
            // One consumer's trouble is no reason to keep the events from the others.
            if let Err(error) = delivery.deliver_published(wanted).await {
                trouble.get_or_insert(error);
            }
        }
        trouble.map_or(Ok(String::new()), |error| Err(NotPublished(error.to_string())))
    }

    fn letterboxes(&self) -> Vec<(&'static str, Arc<dyn Letterbox>)> {
        self.deliveries().iter().map(|delivery| delivery.letterbox()).collect()
    }
}

impl fmt::Debug for InProcessBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.deliveries().iter().map(|delivery| delivery.name()).collect();
        f.debug_tuple("InProcessBus").field(&names).finish()
    }
}
