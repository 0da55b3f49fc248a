//! `GetItem`: one SKU's balances and price.

use spillway_contracts::{
    convert,
    inventory::v1::{GetItemRequest, GetItemResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::item};

pub(super) async fn handle(api: &Api, request: GetItemRequest) -> Result<GetItemResponse, Fault> {
    let mut wrong = Violations::default();
    let sku = convert::sku("sku", &request.sku, &mut wrong);
    let sku = wrong.finish(sku)?;
    let found = api.reader.item(&sku).await?.ok_or_else(|| Fault::not_found("item", &sku))?;
    Ok(GetItemResponse { item: Some(item(found)) })
}
