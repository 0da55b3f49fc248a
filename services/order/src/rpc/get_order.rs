//! `GetOrder`: one order as it stands.

use spillway_contracts::{
    convert,
    order::v1::{GetOrderRequest, GetOrderResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, caller_tenant, convert::order};
use crate::{domain::order::unknown, store::lookup::Known};

pub(super) async fn handle(api: &Api, request: GetOrderRequest) -> Result<GetOrderResponse, Fault> {
    let mut wrong = Violations::default();
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let order_id = wrong.finish(order_id)?;
    let found = api.lookup.order(order_id).await?.filter(|known| known.order.tenant_id == caller_tenant());
    let Known { order: found, stale } = found.ok_or_else(|| unknown(order_id, api.clock.now()))?;
    Ok(GetOrderResponse { order: Some(order(found)), stale })
}
