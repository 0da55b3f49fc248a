//! A network that fails on demand: a TCP proxy on loopback, with a fault for each direction that a test switches at run
//! time.
//!
//! Bytes are never lost or changed within a connection that lives on, since TCP does not do that either: what a
//! [`Fault::Hole`] holds up comes through once the hole is closed, unless somebody gave the connection up meanwhile.

mod pump;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// They come this much later, in order, and no fewer of them a second.
    Delay(Duration),
    /// They do not come through, and neither does the end of the connection. In one direction only, this is a half-cut.
    Hole,
    /// A few at a time.
    Drip {
        /// How many come through at a time; at least 1.
        bytes: usize,
        /// The pause after them.
        every: Duration,
    },
    /// Connections are closed, and new ones as soon as they come.
    Cut,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: requests.
    Up,
    /// From the server to the client: answers.
    Down,
}

/// How often each fault has struck: a test that injects faults asserts that they did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Pieces that came later.
    pub delayed: u64,
    /// Pieces that were held up.
    pub held: u64,
    /// Pieces that came in drips.
    pub dripped: u64,
    /// Connections closed.
    pub cut: u64,
}

/// The proxy. Dropped, it is gone with all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: watch::Sender<SocketAddr>,
    up: watch::Sender<Fault>,
    down: watch::Sender<Fault>,
    /// Changes when the connections there are have to go.
    severed: watch::Sender<u64>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    delayed: AtomicU64,
    held: AtomicU64,
    dripped: AtomicU64,
    cut: AtomicU64,
}

// === impl Injected ===

impl Injected {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.delayed + self.held + self.dripped + self.cut
    }
}

// === impl Proxy ===

impl Proxy {
    /// A proxy in front of `target`, on a free port of its own.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: watch::Sender::new(target),
            up: watch::Sender::default(),
            down: watch::Sender::default(),
            severed: watch::Sender::default(),
            counters: Counters::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go to `target`; those there are stay where they are, unless they are severed.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.target.send_replace(target);
    }

    /// Bytes in `direction` suffer `fault` from now on, those that were sent but have not come through included.
    pub fn set(&self, direction: Direction, fault: Fault) {
        match direction {
            Direction::Up => self.shared.up.send_replace(fault),
            Direction::Down => self.shared.down.send_replace(fault),
        };
        if fault == Fault::Cut {
            self.sever();
        }
    }

    /// Bytes in both directions suffer `fault` from now on.
    pub fn set_both(&self, fault: Fault) {
        self.set(Direction::Up, fault);
        self.set(Direction::Down, fault);
    }

    /// No more faults.
    pub fn heal(&self) {
        self.set_both(Fault::None);
    }

    /// Closes the connections there are; new ones are served.
    pub fn sever(&self) {
        self.shared.severed.send_modify(|times| *times += 1);
    }

    /// How often faults have struck.
    pub fn injected(&self) -> Injected {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Injected {
            delayed: read(&counters.delayed),
            held: read(&counters.held),
            dripped: read(&counters.dripped),
            cut: read(&counters.cut),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is the client's, which has gone already.
                if let Ok((client, _)) = accepted {
                    connections.spawn(serve(client, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, from its accept to its end.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut severed = shared.severed.subscribe();
    let cut = [&shared.up, &shared.down].iter().any(|fault| *fault.borrow() == Fault::Cut);
    if cut {
        shared.counters.cut.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let target = *shared.target.borrow();
    // Nobody there: the client finds its connection closed.
    let Ok(server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        () = pump::both_ways(client, server, &shared) => {}
        _ = severed.changed() => {
            shared.counters.cut.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
