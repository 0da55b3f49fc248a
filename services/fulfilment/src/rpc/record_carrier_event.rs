//! `RecordCarrierEvent`: what a carrier reports is booked, in whatever order reports come.

use spillway_contracts::{
    convert::{self, from_timestamp},
    fulfilment::v1::{CarrierEventKind, RecordCarrierEventRequest, RecordCarrierEventResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::shipment, submit_shipment};
use crate::domain::{CarrierEvent, Command, Once, command::RecordCarrierEvent};

/// Bytes in a carrier's number: a few times what the longest known ones have.
const TRACKING_MAX: usize = 128;

pub(super) async fn handle(api: &Api, request: RecordCarrierEventRequest) -> Result<RecordCarrierEventResponse, Fault> {
    let recorded = submit_shipment(api, parse(&request)?).await?;
    Ok(RecordCarrierEventResponse { shipment: Some(shipment(recorded)) })
}

fn parse(request: &RecordCarrierEventRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let shipment_id = convert::shipment_id("shipment_id", &request.shipment_id, &mut wrong);
    let event = convert::enumerated("kind", request.kind, &mut wrong).and_then(event);
    let tracking = convert::text("tracking", &request.tracking, &mut wrong);
    if request.tracking.len() > TRACKING_MAX {
        wrong.add("tracking", format!("must be at most {TRACKING_MAX} bytes long, has {}", request.tracking.len()));
    }
    let parsed = (|| {
        let body = RecordCarrierEvent {
            shipment_id: shipment_id?,
            event: event?,
            occurred_at: request.occur_time.map(from_timestamp),
            tracking: tracking.filter(|tracking| !tracking.is_empty()),
        };
        Some(Once::new(request_id?, body))
    })();
    wrong.finish(parsed).map(Command::Record)
}

const fn event(kind: CarrierEventKind) -> Option<CarrierEvent> {
    match kind {
        CarrierEventKind::Unspecified => None,
        CarrierEventKind::PickedUp => Some(CarrierEvent::PickedUp),
        CarrierEventKind::InTransit => Some(CarrierEvent::InTransit),
        CarrierEventKind::Delivered => Some(CarrierEvent::Delivered),
        CarrierEventKind::Lost => Some(CarrierEvent::Lost),
        CarrierEventKind::Returned => Some(CarrierEvent::Returned),
    }
}
