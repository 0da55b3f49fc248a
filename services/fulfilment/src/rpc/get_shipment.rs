//! `GetShipment`: where a parcel stands.

use spillway_contracts::{
    convert,
    fulfilment::v1::{GetShipmentRequest, GetShipmentResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::shipment};

pub(super) async fn handle(api: &Api, request: GetShipmentRequest) -> Result<GetShipmentResponse, Fault> {
    let mut wrong = Violations::default();
    let id = convert::shipment_id("shipment_id", &request.shipment_id, &mut wrong);
    let id = wrong.finish(id)?;
    let found = api.reader.shipment(id).await?.ok_or_else(|| Fault::not_found("shipment", id))?;
    Ok(GetShipmentResponse { shipment: Some(shipment(found)) })
}
