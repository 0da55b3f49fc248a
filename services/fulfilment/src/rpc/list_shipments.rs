//! `ListShipments`: parcels of an order or of all, a page at a time, by id.

use spillway_contracts::{
    convert,
    fulfilment::v1::{ListShipmentsRequest, ListShipmentsResponse, ShipmentState},
    page,
};
use spillway_types::{Fault, ShipmentId, Violations};

use super::{
    Api,
    convert::{domain_state, shipment},
};
use crate::store::ShipmentFilter;

pub(super) async fn handle(api: &Api, request: ListShipmentsRequest) -> Result<ListShipmentsResponse, Fault> {
    let (filter, size, after) = parse(&request)?;
    let found = api.reader.shipments(&filter, after, size + 1).await?;
    let (shipments, next_page_token) = page::cut(found, size, |last| last.shipment_id);
    Ok(ListShipmentsResponse { shipments: shipments.into_iter().map(shipment).collect(), next_page_token })
}

fn parse(request: &ListShipmentsRequest) -> Result<(ShipmentFilter, u32, Option<ShipmentId>), Fault> {
    let mut wrong = Violations::default();
    let order_id = match request.order_id.as_str() {
        "" => Some(None),
        id => convert::order_id("order_id", id, &mut wrong).map(Some),
    };
    let states = convert::enumerated_all::<ShipmentState>("states", &request.states, &mut wrong);
    let size = page::page_size(request.page_size, &mut wrong);
    let after = page::decode(&request.page_token, &mut wrong);
    let parsed = (|| {
        // A state that no shipment reaches yet still narrows the list: to nothing.
        let wanted = Some(states?).filter(|states| !states.is_empty());
        let states = wanted.map(|states| states.into_iter().filter_map(domain_state).collect());
        Some((ShipmentFilter { order_id: order_id?, states }, size?, after?))
    })();
    wrong.finish(parsed)
}
