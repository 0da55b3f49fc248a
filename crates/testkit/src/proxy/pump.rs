//! The bytes of one connection, on their way.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Counters, Fault, Shared};

/// Bytes taken at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces on their way in one direction, 4 MiB at most: beyond it the sender waits, as on a long line.
const PIECES_MAX: usize = 256;

struct Piece {
    bytes: Vec<u8>,
    sent: Instant,
}

/// One direction of one connection.
struct Way<'a> {
    fault: watch::Receiver<Fault>,
    counters: &'a Counters,
}

/// Carries both directions until both have ended, or one fails.
pub(super) async fn both_ways(client: TcpStream, server: TcpStream, shared: &Shared) {
    // The proxy adds no delay of its own; a socket that does not take the option is dead, which the pump will notice.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let way = |fault: &watch::Sender<Fault>| Way { fault: fault.subscribe(), counters: &shared.counters };
    // An error ends the connection, which both ends will see: there is nobody else to tell.
    drop(tokio::try_join!(
        way(&shared.up).carry(from_client, to_server),
        way(&shared.down).carry(from_server, to_client),
    ));
}

// === impl Way ===

impl Way<'_> {
    async fn carry(mut self, from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::try_join!(take(from, sender), self.give(receiver, to)).map(drop)
    }

    async fn give(&mut self, mut pieces: mpsc::Receiver<Piece>, mut to: OwnedWriteHalf) -> io::Result<()> {
        while let Some(piece) = pieces.recv().await {
            self.deliver(&piece, &mut to).await?;
        }
        // The end of the stream falls into a hole like everything else.
        while *self.fault.borrow_and_update() == Fault::Hole {
            self.switched().await?;
        }
        to.shutdown().await
    }

    /// Writes one piece under the fault of the moment, which may change while it waits.
    async fn deliver(&mut self, piece: &Piece, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut rest = piece.bytes.as_slice();
        let mut counted = None;
        while !rest.is_empty() {
            let fault = *self.fault.borrow_and_update();
            self.count(fault, piece, &mut counted);
            match fault {
                Fault::None => {
                    to.write_all(rest).await?;
                    rest = &[];
                }
                Fault::Delay(delay) if piece.sent + delay <= Instant::now() => {
                    to.write_all(rest).await?;
                    rest = &[];
                }
                Fault::Delay(delay) => self.wait_until(piece.sent + delay).await?,
                Fault::Hole => self.switched().await?,
                Fault::Drip { bytes, every } => {
                    let (drop, later) = rest.split_at(bytes.clamp(1, rest.len()));
                    to.write_all(drop).await?;
                    rest = later;
                    self.wait_until(Instant::now() + every).await?;
                }
                Fault::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(())
    }

    /// Counts a piece once for each fault that it meets in a row.
    fn count(&self, fault: Fault, piece: &Piece, counted: &mut Option<Fault>) {
        let counter: &AtomicU64 = match fault {
            Fault::Delay(delay) if piece.sent + delay > Instant::now() => &self.counters.delayed,
            Fault::Hole => &self.counters.held,
            Fault::Drip { .. } => &self.counters.dripped,
            Fault::None | Fault::Delay(_) | Fault::Cut => return,
        };
        if counted.replace(fault) != Some(fault) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until then, or until the fault is another one.
    async fn wait_until(&mut self, then: Instant) -> io::Result<()> {
        tokio::select! {
            () = sleep_until(then) => Ok(()),
            switched = self.switched() => switched,
        }
    }

    async fn switched(&mut self) -> io::Result<()> {
        self.fault.changed().await.map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }
}

async fn take(mut from: OwnedReadHalf, to: mpsc::Sender<Piece>) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; PIECE_BYTES];
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        bytes.truncate(count);
        // The other half has failed, and ends this one.
        if to.send(Piece { bytes, sent: Instant::now() }).await.is_err() {
            return Ok(());
        }
    }
}
