//! What a saga's present state means to the buyer.

use spillway_contracts::{
    orchestrator::v1::{OrderOutcome, PlaceOrderResponse},
    types::v1::Refusal,
};
use spillway_saga::{Fate, Snapshot, Status};
use spillway_types::{Fault, Reason};

use super::convert::to_price;
use crate::saga::place_order::{AuthorizePayment, ReserveStock};

/// The answer to PlaceOrder, as things stand. A refusal is part of it here; [`refusal`] makes an error of it.
pub(super) fn of(snapshot: &Snapshot) -> PlaceOrderResponse {
    let price = snapshot.output::<_, ReserveStock>();
    let discount = snapshot.output::<_, AuthorizePayment>().map(|authorized| authorized.discount);
    let outcome = match snapshot.fate {
        Fate::Back => OrderOutcome::Cancelled,
        Fate::Open | Fate::Forward if snapshot.answerable => OrderOutcome::Paid,
        Fate::Open | Fate::Forward if snapshot.status == Status::Waiting => OrderOutcome::AwaitingPayment,
        Fate::Open | Fate::Forward => OrderOutcome::Processing,
    };
    let refusal =
        refusal(snapshot).map(|fault| Refusal { reason: fault.reason.as_str().to_owned(), message: fault.message });
    PlaceOrderResponse {
        order_id: snapshot.id.to_string(),
        outcome: outcome.into(),
        price: price.map(|price| to_price(&price, discount)),
        refusal,
        payment_action: None,
    }
}

/// Why the order was refused or cancelled, if it was.
pub(super) fn refusal(snapshot: &Snapshot) -> Option<Fault> {
    (snapshot.fate == Fate::Back).then(|| {
        let cause = snapshot.cause.clone();
        cause.unwrap_or_else(|| Fault::new(Reason::Cancelled, "the order was cancelled")).with("order_id", snapshot.id)
    })
}
