//! `Reserve`: units promised to an order, all lines or nothing.

use std::time::Duration;

use serde::Serialize;
use spillway_contracts::{
    convert::{self, from_duration},
    inventory::v1::{ReserveRequest, ReserveResponse},
};
use spillway_types::{BuyerId, Fault, Fingerprint, Sku, Violations};
use tonic::Request;

use super::{Api, convert::reservation, submit_reservation};
use crate::domain::{Command, Hold, command::Reserve};

/// How long a promise stands when the caller does not say: long enough to fill in a payment form.
const TTL_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// Shorter promises would lapse on the way back to the caller.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Longer promises are a way to take goods off the market without buying them.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How a client's stack says that it has sent a call before.
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

pub(super) async fn handle(api: &Api, request: Request<ReserveRequest>) -> Result<ReserveResponse, Fault> {
    let is_repeat = request.get_ref().retry || request.metadata().contains_key(PREVIOUS_ATTEMPTS);
    let reserve = parse(request.get_ref())?;
    let reserved = if is_repeat {
        // What became of the attempt before only the ledger knows.
        submit_reservation(api, Command::Reserve(reserve)).await
    } else {
        let (order_id, pass) = (reserve.order_id, api.gate.enter(&reserve).await?);
        let reserved = submit_reservation(api, Command::Reserve(reserve)).await;
        api.gate.leave(order_id, pass, &reserved).await;
        reserved
    };
    Ok(ReserveResponse { reservation: Some(reservation(reserved?)) })
}

/// What makes two Reserves of one order the same.
#[derive(Serialize)]
struct Normal<'a> {
    buyer_id: &'a BuyerId,
    lines: &'a [(Sku, u32)],
    hold: Hold,
}

fn parse(request: &ReserveRequest) -> Result<Reserve, Fault> {
    let mut wrong = Violations::default();
    // The order is the key of the effect; the request's own key is what its caller's log names.
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let buyer_id = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let lines = convert::lines("lines", &request.lines, &mut wrong);
    let hold = hold(request, &mut wrong);
    let parsed = (|| {
        request_id?;
        let (order_id, buyer_id, lines, hold) = (order_id?, buyer_id?, lines?, hold?);
        let fingerprint = Fingerprint::of(&Normal { buyer_id: &buyer_id, lines: &lines, hold });
        Some(Reserve { order_id, buyer_id, lines, hold, fingerprint })
    })();
    wrong.finish(parsed)
}

fn hold(request: &ReserveRequest, wrong: &mut Violations) -> Option<Hold> {
    let Some(ttl) = request.ttl else {
        return Some(if request.pinned { Hold::Pinned } else { Hold::For(TTL_DEFAULT) });
    };
    if request.pinned {
        wrong.add("ttl", "a pinned reservation does not lapse; leave one of `ttl` and `pinned` out");
    }
    match from_duration(ttl) {
        Some(ttl) if (TTL_MIN..=TTL_MAX).contains(&ttl) => Some(Hold::For(ttl)),
        Some(_) | None => {
            wrong.add("ttl", "must be 1 s to 24 h");
            None
        }
    }
}

#[cfg(test)]
mod tests;
