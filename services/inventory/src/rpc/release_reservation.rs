//! `ReleaseReservation`: a promise is taken back, or never made. Accepted in every state.

use spillway_contracts::{
    convert,
    inventory::v1::{ReleaseReservationRequest, ReleaseReservationResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::reservation, submit_reservation};
use crate::domain::Command;

pub(super) async fn handle(api: &Api, request: ReleaseReservationRequest) -> Result<ReleaseReservationResponse, Fault> {
    let found = submit_reservation(api, parse(&request)?).await?;
    api.gate.stock_may_have_risen();
    Ok(ReleaseReservationResponse { reservation: Some(reservation(found)) })
}

fn parse(request: &ReleaseReservationRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("reservation_id", &request.reservation_id, &mut wrong);
    let reason = convert::text("reason", &request.reason, &mut wrong);
    wrong.finish(request_id.and(reason).and(order_id)).map(Command::Release)
}
