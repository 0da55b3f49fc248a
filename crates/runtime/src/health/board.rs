//! Every server of this process and whether it serves, for whoever asks after the process as a whole.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use opentelemetry::{KeyValue, global};

static BOARD: Mutex<Board> = Mutex::new(Board { next: 0, servers: BTreeMap::new() });

struct Board {
    next: u64,
    servers: BTreeMap<u64, Entry>,
}

struct Entry {
    services: Vec<&'static str>,
    serves: bool,
}

/// A server's line on the board; taken off when dropped.
#[derive(Debug)]
pub(crate) struct Place(u64);

fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether all servers of this process serve, of which there must be at least one.
pub(crate) fn all_serve() -> Result<(), String> {
    let board = board();
    if board.servers.is_empty() {
        return Err("no server has started".to_owned());
    }
    let down = board.servers.values().filter(|entry| !entry.serves).flat_map(|entry| entry.services.iter().copied());
    match down.collect::<Vec<_>>().as_slice() {
        [] => Ok(()),
        down => Err(format!("not serving: {}", down.join(", "))),
    }
}

/// Shows the board to scrapers.
pub(crate) fn observe() {
    let _kept_by_the_meter = global::meter("spillway")
        .u64_observable_gauge("spillway.server.serving")
        .with_description("1 while the service can do its work, as its health says; else 0.")
        .with_callback(|serving| {
            for entry in board().servers.values() {
                for service in &entry.services {
                    serving.observe(entry.serves.into(), &[KeyValue::new("service", *service)]);
                }
            }
        })
        .build();
}

// === impl Place ===

impl Place {
    /// A server that does not serve yet.
    pub(crate) fn new(services: Vec<&'static str>) -> Self {
        let mut board = board();
        let id = board.next;
        board.next += 1;
        board.servers.insert(id, Entry { services, serves: false });
        Self(id)
    }

    pub(crate) fn set(&self, serves: bool) {
        if let Some(entry) = board().servers.get_mut(&self.0) {
            entry.serves = serves;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        board().servers.remove(&self.0);
    }
}
