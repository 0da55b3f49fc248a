//! `AdjustStock`: units counted in or out.

use spillway_contracts::{
    convert,
    inventory::v1::{AdjustStockRequest, AdjustStockResponse},
};
use spillway_types::{Fault, Fingerprint, Violations};

use super::{Api, convert::item, submit_item};
use crate::domain::{
    Command,
    command::{AdjustStock, Once},
};

pub(super) async fn handle(api: &Api, request: AdjustStockRequest) -> Result<AdjustStockResponse, Fault> {
    let adjusted = submit_item(api, parse(&request)?).await?;
    api.gate.stock_may_have_risen();
    Ok(AdjustStockResponse { item: Some(item(adjusted)) })
}

fn parse(request: &AdjustStockRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let sku = convert::sku("sku", &request.sku, &mut wrong);
    let reason = convert::required_text("reason", &request.reason, &mut wrong);
    if request.delta == 0 {
        wrong.add("delta", "must not be 0");
    }
    let parsed = (|| {
        let body = AdjustStock { sku: sku?, delta: request.delta, reason: reason? };
        Some(Once { request_id: request_id?, fingerprint: Fingerprint::of(&body), body })
    })();
    wrong.finish(parsed).map(Command::AdjustStock)
}
