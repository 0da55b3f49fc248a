//! `UpdateItem`: another title or price, from now on.

use spillway_contracts::{
    convert,
    inventory::v1::{UpdateItemRequest, UpdateItemResponse},
};
use spillway_types::{Fault, Fingerprint, Violations};

use super::{Api, convert::item, submit_item};
use crate::domain::{
    Command,
    command::{Once, UpdateItem},
};

pub(super) async fn handle(api: &Api, request: UpdateItemRequest) -> Result<UpdateItemResponse, Fault> {
    let updated = submit_item(api, parse(&request)?).await?;
    Ok(UpdateItemResponse { item: Some(item(updated)) })
}

fn parse(request: &UpdateItemRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let sku = convert::sku("sku", &request.sku, &mut wrong);
    let (mut title, mut unit_price) = (None, None);
    let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        wrong.add("update_mask", "must name at least one of `title`, `price`");
    }
    for path in paths {
        match path.as_str() {
            "title" => title = convert::required_text("title", &request.title, &mut wrong),
            "price" => unit_price = convert::money("price", request.price.as_ref(), &mut wrong),
            other => wrong.add("update_mask", format!("{other:?} cannot be changed; `title` and `price` can")),
        }
    }
    let parsed = request_id.zip(sku).map(|(request_id, sku)| {
        let body = UpdateItem { sku, title, unit_price };
        Once { request_id, fingerprint: Fingerprint::of(&body), body }
    });
    wrong.finish(parsed).map(Command::UpdateItem)
}
