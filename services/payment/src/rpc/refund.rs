//! `Refund`: captured money given back, method first and then points.

use spillway_contracts::{
    convert,
    payment::v1::{RefundRequest, RefundResponse},
};
use spillway_types::{Fault, Violations};

use super::{
    Api,
    convert::{more_than_zero, payment},
};
use crate::domain::{
    Command,
    command::{Once, Refunding},
};

pub(super) async fn handle(api: &Api, request: RefundRequest) -> Result<RefundResponse, Fault> {
    let refunded = api.settler.carry_out(parse(&request)?).await?;
    Ok(RefundResponse { payment: Some(payment(refunded)) })
}

fn parse(request: &RefundRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let payment_id = convert::order_id("payment_id", &request.payment_id, &mut wrong);
    let amount = convert::money("amount", request.amount.as_ref(), &mut wrong);
    more_than_zero("amount", amount.map(|amount| amount.minor), &mut wrong);
    let reason = convert::text("reason", &request.reason, &mut wrong);
    let parsed = (|| {
        let body = Refunding { payment_id: payment_id?, amount: amount?, reason: reason? };
        Some(Once::new(request_id?, body))
    })();
    wrong.finish(parsed).map(Command::Refund)
}
