//! `CancelOrder`: the saga is asked to turn back. Void goes first, so that exactly one of cancel and capture wins.

use std::time::Duration;

use spillway_contracts::{
    convert,
    orchestrator::v1::{CancelOrderRequest, CancelOrderResponse},
    order::v1::OrderState,
};
use spillway_saga::{EngineError, Fate};
use spillway_types::{BuyerId, Fault, OrderId, Reason, Violations};

use super::{Api, answer_by, log_failed, saga_id};
use crate::domain::{NewOrder, order::is_young};

/// When to ask again about a saga that is parked: asking drives it at once, so not too often.
const UNDECIDED_RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) async fn handle(api: &Api, request: CancelOrderRequest) -> Result<CancelOrderResponse, Fault> {
    let (order_id, buyer_id, reason) = parse(&request)?;
    let answer_by = answer_by();
    check_buyer(api, order_id, buyer_id.as_ref()).await?;
    let cause =
        Fault::new(Reason::Cancelled, if reason.is_empty() { "cancelled on request".to_owned() } else { reason });
    let turned = api.engine.turn_back(saga_id(order_id), cause).await;
    let mut handle = turned.map_err(|error| match error {
        EngineError::NotFound(_) => not_found(api, order_id),
        EngineError::Draining => Fault::new(Reason::Draining, "the service is shutting down; ask again"),
        EngineError::Log(error) => log_failed(&error),
    })?;
    let settled = tokio::time::timeout_at(answer_by, handle.settled()).await;
    let snapshot = settled.map_err(|_| {
        Fault::new(Reason::DeadlineExceeded, "it is not decided yet whether the order is cancelled; ask again")
    })?;
    match snapshot.fate {
        Fate::Back => {
            // Certain already; whoever reads the order next shall see it too, as far as there is time for that.
            if tokio::time::timeout_at(answer_by, handle.left()).await.is_err() {
                tracing::debug!(%order_id, "answered a cancellation before all of it was undone");
            }
            Ok(CancelOrderResponse { order_id: order_id.to_string(), state: OrderState::Cancelled.into() })
        }
        // It left memory before that was known: parked, since Void has had no answer, or the service is shutting down.
        Fate::Open => {
            Err(Fault::new(Reason::OutcomeUnknown, "it is not decided yet whether the order is cancelled; ask again")
                .with("order_id", order_id)
                .with_retry_after(UNDECIDED_RETRY_AFTER))
        }
        Fate::Forward => Err(Fault::new(
            Reason::NotCancellable,
            "the order is paid and cannot be cancelled any more; returns are not offered yet",
        )
        .with("order_id", order_id)
        .with("current_state", OrderState::Paid.as_str_name())),
    }
}

/// Another buyer's order is none of the caller's business.
async fn check_buyer(api: &Api, order_id: OrderId, buyer_id: Option<&BuyerId>) -> Result<(), Fault> {
    let row = api.log.load(saga_id(order_id)).await.map_err(|error| log_failed(&error))?;
    let row = row.ok_or_else(|| not_found(api, order_id))?;
    let order: NewOrder = serde_json::from_str(&row.input).map_err(|error| Fault::internal().with("input", error))?;
    match buyer_id {
        Some(buyer_id) if *buyer_id != order.buyer_id => {
            Err(Fault::new(Reason::NotAllowed, "this order is another buyer's").with("order_id", order_id))
        }
        Some(_) | None => Ok(()),
    }
}

fn not_found(api: &Api, order_id: OrderId) -> Fault {
    let fault = Fault::not_found("order", order_id);
    if is_young(order_id, api.clock.now()) { fault.with_retry_after(Duration::from_millis(200)) } else { fault }
}

fn parse(request: &CancelOrderRequest) -> Result<(OrderId, Option<BuyerId>, String), Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let buyer_id = convert::optional("buyer_id", &request.buyer_id, &mut wrong);
    let reason = convert::text("reason", &request.reason, &mut wrong);
    let parsed = (|| {
        request_id?;
        Some((order_id?, buyer_id?, reason?))
    })();
    wrong.finish(parsed)
}
