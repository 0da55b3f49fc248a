//! `PinReservation`: a promise loses its time limit.

use spillway_contracts::{
    convert,
    inventory::v1::{PinReservationRequest, PinReservationResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::reservation, submit_reservation};
use crate::domain::Command;

pub(super) async fn handle(api: &Api, request: PinReservationRequest) -> Result<PinReservationResponse, Fault> {
    let found = submit_reservation(api, parse(&request)?).await?;
    Ok(PinReservationResponse { reservation: Some(reservation(found)) })
}

fn parse(request: &PinReservationRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("reservation_id", &request.reservation_id, &mut wrong);
    wrong.finish(request_id.and(order_id)).map(Command::Pin)
}
