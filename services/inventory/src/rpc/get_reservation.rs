//! `GetReservation`: where a promise stands.

use spillway_contracts::{
    convert,
    inventory::v1::{GetReservationRequest, GetReservationResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::reservation};

pub(super) async fn handle(api: &Api, request: GetReservationRequest) -> Result<GetReservationResponse, Fault> {
    let mut wrong = Violations::default();
    let order_id = convert::order_id("reservation_id", &request.reservation_id, &mut wrong);
    let order_id = wrong.finish(order_id)?;
    let found = api.reader.reservation(order_id).await?;
    let found = found.ok_or_else(|| Fault::not_found("reservation", order_id))?;
    Ok(GetReservationResponse { reservation: Some(reservation(found)) })
}
