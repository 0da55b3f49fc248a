//! `Capture`: the money is taken. The point of no return.

use spillway_contracts::{
    convert,
    payment::v1::{CaptureRequest, CaptureResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::payment};
use crate::domain::Command;

pub(super) async fn handle(api: &Api, request: CaptureRequest) -> Result<CaptureResponse, Fault> {
    let captured = api.settler.carry_out(parse(&request)?).await?;
    Ok(CaptureResponse { payment: Some(payment(captured)) })
}

fn parse(request: &CaptureRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let payment_id = convert::order_id("payment_id", &request.payment_id, &mut wrong);
    wrong.finish(request_id.and(payment_id)).map(Command::Capture)
}
