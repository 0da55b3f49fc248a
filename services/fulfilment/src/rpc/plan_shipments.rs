//! `PlanShipments`: which warehouse sends what, every line or nothing.

use spillway_contracts::{
    convert,
    fulfilment::v1::{PlanShipmentsRequest, PlanShipmentsResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::plan, submit_plan};
use crate::domain::{Command, command::PlanShipments};

pub(super) async fn handle(api: &Api, request: PlanShipmentsRequest) -> Result<PlanShipmentsResponse, Fault> {
    let planned = submit_plan(api, parse(&request)?).await?;
    Ok(PlanShipmentsResponse { plan: Some(plan(planned)) })
}

fn parse(request: &PlanShipmentsRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    // The order is the key of the effect; the request's own key is what its caller's log names.
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let region = convert::parsed("region", &request.region, &mut wrong);
    let lines = convert::lines("lines", &request.lines, &mut wrong);
    let parsed = (|| {
        request_id?;
        Some(PlanShipments::new(order_id?, region?, lines?))
    })();
    wrong.finish(parsed).map(Command::Plan)
}
