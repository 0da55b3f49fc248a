//! Which rows a batch needs.

use std::collections::BTreeSet;

use spillway_types::{EventId, OrderId};

use super::CONSUMER_SHIPMENTS;
use crate::domain::Command;

/// The keys that a batch needs, in the order in which they are locked.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) orders: BTreeSet<OrderId>,
    /// Orders whose moves are needed as well.
    pub(super) trails: BTreeSet<OrderId>,
    pub(super) events: BTreeSet<(String, EventId)>,
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn by(commands: &[Command]) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            match command {
                Command::Create(create) => drop(wanted.orders.insert(create.order_id)),
                Command::Advance(advance) => {
                    wanted.orders.insert(advance.order_id);
                    wanted.trails.insert(advance.order_id);
                }
                Command::Follow(news) => {
                    wanted.orders.extend(news.iter().map(|piece| piece.order_id));
                    wanted.events.extend(news.iter().map(|piece| (CONSUMER_SHIPMENTS.to_owned(), piece.event_id)));
                }
            }
        }
        wanted
    }
}
