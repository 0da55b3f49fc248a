//! `GetOrder`: one order as it stands.

use spillway_contracts::{
    convert,
    order::v1::{GetOrderRequest, GetOrderResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::order, known_order};

pub(super) async fn handle(api: &Api, request: GetOrderRequest) -> Result<GetOrderResponse, Fault> {
    let mut wrong = Violations::default();
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let found = known_order(api, wrong.finish(order_id)?).await?;
    Ok(GetOrderResponse { order: Some(order(found)) })
}
