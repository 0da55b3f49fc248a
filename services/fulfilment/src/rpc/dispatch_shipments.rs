//! `DispatchShipments`: the warehouses begin.

use spillway_contracts::{
    convert,
    fulfilment::v1::{DispatchShipmentsRequest, DispatchShipmentsResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::plan, submit_plan};
use crate::domain::Command;

pub(super) async fn handle(api: &Api, request: DispatchShipmentsRequest) -> Result<DispatchShipmentsResponse, Fault> {
    let dispatched = submit_plan(api, parse(&request)?).await?;
    Ok(DispatchShipmentsResponse { plan: Some(plan(dispatched)) })
}

fn parse(request: &DispatchShipmentsRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    wrong.finish(request_id.and(order_id)).map(Command::Dispatch)
}
