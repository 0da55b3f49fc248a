//! `CancelShipments`: a plan is given up, or never made. Accepted in every state.

use spillway_contracts::{
    convert,
    fulfilment::v1::{CancelShipmentsRequest, CancelShipmentsResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::plan, submit_plan};
use crate::domain::{Command, command::CancelShipments};

pub(super) async fn handle(api: &Api, request: CancelShipmentsRequest) -> Result<CancelShipmentsResponse, Fault> {
    let found = submit_plan(api, parse(&request)?).await?;
    Ok(CancelShipmentsResponse { plan: Some(plan(found)) })
}

fn parse(request: &CancelShipmentsRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let reason = convert::text("reason", &request.reason, &mut wrong);
    let parsed = (|| {
        request_id?;
        Some(CancelShipments { order_id: order_id?, reason: reason? })
    })();
    wrong.finish(parsed).map(Command::Cancel)
}
