//! `ConfirmReservation`: what was promised is sold, whole or in part.

use spillway_contracts::{
    convert,
    inventory::v1::{ConfirmReservationRequest, ConfirmReservationResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::reservation, submit_reservation};
use crate::domain::{Command, command::Confirm};

pub(super) async fn handle(api: &Api, request: ConfirmReservationRequest) -> Result<ConfirmReservationResponse, Fault> {
    let confirmed = submit_reservation(api, parse(&request)?).await?;
    if !request.lines.is_empty() {
        api.gate.stock_may_have_risen();
    }
    Ok(ConfirmReservationResponse { reservation: Some(reservation(confirmed)) })
}

fn parse(request: &ConfirmReservationRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("reservation_id", &request.reservation_id, &mut wrong);
    let lines = convert::optional_lines("lines", &request.lines, &mut wrong);
    let parsed = (|| {
        request_id?;
        Some(Confirm { order_id: order_id?, lines: lines.filter(|lines| !lines.is_empty()) })
    })();
    wrong.finish(parsed).map(Command::Confirm)
}
