//! `WatchOrder`: every move of an order after a version, each once and in order, until a final state.
//!
//! The store is what is followed; the hub only says when to look. So a stream that breaks is taken up again by its
//! version, and one that is slow costs a small buffer: when that stays full, the stream is closed and the caller told
//! where to go on. (That the server stops is said by the server.)

use std::time::Duration;

use futures_util::{StreamExt, future, stream};
use spillway_contracts::{
    convert,
    order::v1::{OrderEvent, WatchOrderRequest, WatchOrderResponse},
};
use spillway_middleware::status::from_fault;
use spillway_storage::StoreError;
use spillway_types::{Fault, OrderId, Reason, Violations};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;

use super::{
    Api, caller_tenant,
    convert::{event, order, tombstone_event},
};
use crate::{
    domain::{
        Entry, Order,
        order::{may_arrive_within, unknown},
    },
    store::hub::Follower,
};

/// Moves read at once. No order makes more in its life; the machine has no circles.
const PAGE: u32 = 16;
/// How long to wait without a hint before looking anyway. Hints make this needless; it bounds what a mistake in them costs.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// How long a stream outlasts a store that does not answer: a restart of the database, or a failover. After that its caller
/// is better off elsewhere.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// Pause before a store that did not answer is asked again, on average. Thousands of streams do not ask all at once.
const STORE_PAUSE: Duration = Duration::from_millis(500);

pub(super) fn handle(api: &Api, request: &WatchOrderRequest) -> Result<BoxStream<WatchOrderResponse>, Fault> {
    let mut wrong = Violations::default();
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let after = convert::not_negative("after_version", request.after_version, &mut wrong);
    let (order_id, after) = wrong.finish(order_id.zip(after))?;
    // Followed before anything is read, so that no move falls between.
    let follower = api.hub.follow(order_id)?;
    let (moves, received) = mpsc::channel(api.watch.buffer);
    let (last_word, ended) = oneshot::channel();
    let watch = Watch { api: api.clone(), order_id, after, follower, moves };
    tokio::spawn(async move {
        if let Err(fault) = watch.run().await {
            // A caller that has gone away needs no last word.
            drop(last_word.send(fault));
        }
    });
    // What was sent is delivered first; then, if there is one, why there is no more.
    let ending = stream::once(ended).filter_map(|word| future::ready(word.ok()));
    let items = ReceiverStream::new(received).map(Ok);
    Ok(items.chain(ending.map(|fault| Err(from_fault(fault)))).boxed())
}

/// One caller's stream.
struct Watch {
    api: Api,
    order_id: OrderId,
    /// The last version that was sent.
    after: i64,
    follower: Follower,
    moves: mpsc::Sender<WatchOrderResponse>,
}

// === impl Watch ===

impl Watch {
    async fn run(mut self) -> Result<(), Fault> {
        let mut failing_since = None;
        loop {
            let wait = match self.look().await {
                Ok((entries, found)) => {
                    failing_since = None;
                    match self.tell(entries, found).await? {
                        Some(wait) => wait,
                        None => return Ok(()),
                    }
                }
                Err(error) if failing_since.get_or_insert_with(Instant::now).elapsed() > STORE_PATIENCE => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::debug!(%error, order_id = %self.order_id, "looking again");
                    let pause = STORE_PAUSE.mul_f64(rand::random_range(0.5..1.5));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.moves.closed() => return Ok(()),
                    }
                    continue;
                }
            };
            tokio::select! {
                () = self.follower.moved() => {}
                () = tokio::time::sleep(wait) => {}
                () = self.moves.closed() => return Ok(()),
            }
        }
    }

    /// Reads the moves that the caller has not been sent, and the order, if there is one.
    async fn look(&mut self) -> Result<(Vec<Entry>, Option<Order>), StoreError> {
        let entries = self.api.reader.entries(self.order_id, self.after, PAGE).await?;
        // Read after its moves, so it is never behind them.
        let found = self.api.reader.order(self.order_id).await?;
        Ok((entries, found.filter(|order| order.tenant_id == caller_tenant())))
    }

    /// Sends what was read. Says how long to wait for more; nothing when there will be no more, or nobody to hear it.
    async fn tell(&mut self, entries: Vec<Entry>, found: Option<Order>) -> Result<Option<Duration>, Fault> {
        let Some(found) = found else {
            let now = self.api.clock.now();
            let left = may_arrive_within(self.order_id, now).ok_or_else(|| unknown(self.order_id, now))?;
            return Ok(Some(left.min(LOOK_ANYWAY)));
        };
        if found.is_tombstone() {
            return self.send(tombstone_event(&found), &found).await.map(|_| None);
        }
        for entry in entries {
            let version = entry.version;
            if !self.send(event(entry), &found).await? {
                return Ok(None);
            }
            self.after = version;
        }
        self.follower.saw(found.version);
        let is_behind = self.after < found.version;
        Ok((is_behind || !found.state.is_final()).then_some(if is_behind { Duration::ZERO } else { LOOK_ANYWAY }))
    }

    /// Sends a move, unless the caller does not take what it was sent before. Says whether the caller is still there.
    async fn send(&self, event: OrderEvent, found: &Order) -> Result<bool, Fault> {
        let response = WatchOrderResponse { event: Some(event), order: Some(order(found.clone())) };
        let patience = Duration::from_millis(self.api.watch.slow_reader_ms);
        match tokio::time::timeout(patience, self.moves.send(response)).await {
            Ok(sent) => Ok(sent.is_ok()),
            Err(_) => {
                let text = "the stream is not read fast enough; watch again with this after_version";
                Err(Fault::new(Reason::Shed, text).with("after_version", self.after))
            }
        }
    }
}

#[cfg(test)]
mod tests;
