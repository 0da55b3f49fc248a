//! `ListPayments`: a page at a time, newest first.

use spillway_contracts::{
    convert, page,
    payment::v1::{self as pb, ListPaymentsRequest, ListPaymentsResponse},
};
use spillway_types::{Fault, Violations};

use super::{
    Api,
    convert::{payment, stored_state},
};
use crate::store::Cursor;

pub(super) async fn handle(api: &Api, request: ListPaymentsRequest) -> Result<ListPaymentsResponse, Fault> {
    let mut wrong = Violations::default();
    let states = convert::enumerated_all::<pb::PaymentState>("states", &request.states, &mut wrong);
    let size = page::page_size(request.page_size, &mut wrong);
    let after = page::decode::<Cursor>(&request.page_token, &mut wrong);
    let (states, (size, after)) = wrong.finish(states.zip(size.zip(after)))?;
    let wanted: Vec<_> = states.iter().copied().filter_map(stored_state).collect();
    if wanted.is_empty() && !states.is_empty() {
        // Only states that nothing is ever in.
        return Ok(ListPaymentsResponse::default());
    }
    let found = api.reader.payments(&wanted, after, size + 1).await?;
    let (payments, next_page_token) = page::cut(found, size, |last| (last.created_at, last.payment_id));
    Ok(ListPaymentsResponse { payments: payments.into_iter().map(payment).collect(), next_page_token })
}
