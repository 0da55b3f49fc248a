//! `GetPayment`: one payment.

use spillway_contracts::{
    convert,
    payment::v1::{GetPaymentRequest, GetPaymentResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::payment};

pub(super) async fn handle(api: &Api, request: GetPaymentRequest) -> Result<GetPaymentResponse, Fault> {
    let mut wrong = Violations::default();
    let payment_id = convert::order_id("payment_id", &request.payment_id, &mut wrong);
    let payment_id = wrong.finish(payment_id)?;
    let found = api.reader.payment(payment_id).await?.ok_or_else(|| Fault::not_found("payment", payment_id))?;
    Ok(GetPaymentResponse { payment: Some(payment(found)) })
}
