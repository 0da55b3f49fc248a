//! `AdvanceOrder`: a move along the order machine; to CANCELLED, a compensation.

use spillway_contracts::{
    convert,
    order::v1::{self as pb, AdvanceOrderRequest, AdvanceOrderResponse},
};
use spillway_types::{Fault, Violations};

use super::{
    Api, caller_tenant,
    convert::{order, parse_role, parse_state},
    submit,
};
use crate::domain::{Advance, Command, Move};

pub(super) async fn handle(api: &Api, request: AdvanceOrderRequest) -> Result<AdvanceOrderResponse, Fault> {
    let advanced = submit(api, parse(&request)?).await?;
    Ok(AdvanceOrderResponse { order: Some(order(advanced)) })
}

fn parse(request: &AdvanceOrderRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let step = step(request.to_state, &mut wrong);
    let reason = match step {
        Some(Move::Cancel) => convert::required_text("reason", &request.reason, &mut wrong),
        Some(_) | None => convert::text("reason", &request.reason, &mut wrong),
    };
    let role = convert::enumerated("actor_role", request.actor_role, &mut wrong).and_then(parse_role);
    let buyer_id = convert::optional("buyer_id", &request.buyer_id, &mut wrong);
    let expected_version = request.expected_version;
    if expected_version.is_some_and(i64::is_negative) {
        wrong.add("expected_version", "must not be negative");
    }
    let parsed = (|| {
        Some(Advance {
            order_id: order_id?,
            tenant_id: caller_tenant(),
            buyer_id: buyer_id?,
            step: step?,
            expected_version,
            reason: reason?,
            role: role?,
            request_id: request_id?,
        })
    })();
    wrong.finish(parsed).map(Command::Advance)
}

fn step(to_state: i32, wrong: &mut Violations) -> Option<Move> {
    let state = convert::enumerated::<pb::OrderState>("to_state", to_state, wrong).and_then(parse_state)?;
    match Move::towards(state) {
        Move::Create => {
            wrong.add("to_state", "an order begins as PENDING; CreateOrder makes one");
            None
        }
        step => Some(step),
    }
}
