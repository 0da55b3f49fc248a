//! `CreateItem`: a SKU enters the catalogue.

use spillway_contracts::{
    convert,
    inventory::v1::{CreateItemRequest, CreateItemResponse},
};
use spillway_types::{Fault, Fingerprint, Violations};

use super::{Api, convert::item, submit_item};
use crate::domain::{
    Command,
    command::{CreateItem, Once},
};

pub(super) async fn handle(api: &Api, request: CreateItemRequest) -> Result<CreateItemResponse, Fault> {
    let created = submit_item(api, parse(&request)?).await?;
    Ok(CreateItemResponse { item: Some(item(created)) })
}

fn parse(request: &CreateItemRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let sku = convert::sku("sku", &request.sku, &mut wrong);
    let title = convert::required_text("title", &request.title, &mut wrong);
    let price = convert::money("price", request.price.as_ref(), &mut wrong);
    let on_hand = convert::not_negative("on_hand", request.on_hand, &mut wrong);
    let parsed = (|| {
        let body = CreateItem { sku: sku?, title: title?, unit_price: price?, on_hand: on_hand? };
        Some(Once { request_id: request_id?, fingerprint: Fingerprint::of(&body), body })
    })();
    wrong.finish(parsed).map(Command::CreateItem)
}
