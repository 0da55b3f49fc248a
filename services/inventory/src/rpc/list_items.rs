//! `ListItems`: the catalogue, a page at a time, in SKU order.

use spillway_contracts::{
    inventory::v1::{ListItemsRequest, ListItemsResponse},
    page,
};
use spillway_types::{Fault, Sku, Violations};

use super::{Api, convert::item};

pub(super) async fn handle(api: &Api, request: ListItemsRequest) -> Result<ListItemsResponse, Fault> {
    let mut wrong = Violations::default();
    let size = page::page_size(request.page_size, &mut wrong);
    let after = page::decode::<Sku>(&request.page_token, &mut wrong);
    let (size, after) = wrong.finish(size.zip(after))?;
    let found = api.reader.items(after.as_ref(), size + 1).await?;
    let (items, next_page_token) = page::cut(found, size, |last| last.sku.clone());
    Ok(ListItemsResponse { items: items.into_iter().map(item).collect(), next_page_token })
}
