//! `Void`: decided against. A compensation: accepted in every state, and before the payment arrives.

use spillway_contracts::{
    convert,
    payment::v1::{VoidRequest, VoidResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::payment};
use crate::domain::{Command, command::Void};

pub(super) async fn handle(api: &Api, request: VoidRequest) -> Result<VoidResponse, Fault> {
    let found = api.settler.carry_out(parse(&request)?).await?;
    Ok(VoidResponse { payment: Some(payment(found)) })
}

fn parse(request: &VoidRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let payment_id = convert::order_id("payment_id", &request.payment_id, &mut wrong);
    let reason = convert::text("reason", &request.reason, &mut wrong);
    let parsed = (|| {
        request_id?;
        Some(Void { payment_id: payment_id?, reason: reason?, only_if_unpaid: request.only_if_unpaid })
    })();
    wrong.finish(parsed).map(Command::Void)
}
