//! `ListOrderEvents`: an order's audit trail, a page at a time, oldest first.

use spillway_contracts::{
    convert,
    order::v1::{ListOrderEventsRequest, ListOrderEventsResponse},
    page,
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::event, known_order};

pub(super) async fn handle(api: &Api, request: ListOrderEventsRequest) -> Result<ListOrderEventsResponse, Fault> {
    let mut wrong = Violations::default();
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let size = page::page_size(request.page_size, &mut wrong);
    let after = page::decode::<i64>(&request.page_token, &mut wrong);
    let (order_id, (size, after)) = wrong.finish(order_id.zip(size.zip(after)))?;
    known_order(api, order_id).await?;
    let found = api.reader.entries(order_id, after.unwrap_or(0), size + 1).await?;
    let (entries, next_page_token) = page::cut(found, size, |last| last.version);
    Ok(ListOrderEventsResponse { events: entries.into_iter().map(event).collect(), next_page_token })
}
