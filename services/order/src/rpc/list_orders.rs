//! `ListOrders`: a page at a time, newest first.

use spillway_contracts::{
    convert,
    order::v1::{self as pb, ListOrdersRequest, ListOrdersResponse},
    page,
};
use spillway_types::{Fault, OrderId, Violations};

use super::{
    Api, caller_tenant,
    convert::{order, parse_state},
};
use crate::store::Listing;

pub(super) async fn handle(api: &Api, request: ListOrdersRequest) -> Result<ListOrdersResponse, Fault> {
    let (listing, size) = parse(&request)?;
    let found = api.reader.orders(&listing).await?;
    let (orders, next_page_token) = page::cut(found, size, |last| last.order_id);
    Ok(ListOrdersResponse { orders: orders.into_iter().map(order).collect(), next_page_token })
}

fn parse(request: &ListOrdersRequest) -> Result<(Listing, u32), Fault> {
    let mut wrong = Violations::default();
    let buyer_id = convert::optional("buyer_id", &request.buyer_id, &mut wrong);
    let states = convert::enumerated_all::<pb::OrderState>("states", &request.states, &mut wrong);
    let size = page::page_size(request.page_size, &mut wrong);
    let before = page::decode::<OrderId>(&request.page_token, &mut wrong);
    let parsed = (|| {
        let (size, states) = (size?, states?.into_iter().filter_map(parse_state).collect());
        // One more than the page holds, to know whether there is another.
        let limit = size + 1;
        Some((Listing { tenant_id: caller_tenant(), buyer_id: buyer_id?, states, before: before?, limit }, size))
    })();
    wrong.finish(parsed)
}
