//! `LookupOrder`: what became of a PlaceOrder, for callers who lost the answer.

use spillway_contracts::{
    convert,
    orchestrator::v1::{LookupOrderRequest, LookupOrderResponse},
};
use spillway_saga::EngineError;
use spillway_types::{Fault, Reason, TenantId, Violations};

use super::{Api, log_failed, outcome};
use crate::domain::order::key;

pub(super) async fn handle(api: &Api, request: LookupOrderRequest) -> Result<LookupOrderResponse, Fault> {
    let mut wrong = Violations::default();
    let buyer_id = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let (buyer_id, request_id) = wrong.finish(buyer_id.zip(request_id))?;
    let found =
        api.engine.find(&key(&TenantId::default(), &buyer_id, request_id)).await.map_err(|error| match error {
            EngineError::Log(error) => log_failed(&error),
            EngineError::Draining => Fault::new(Reason::Draining, "the service is shutting down; ask again"),
            EngineError::NotFound(_) => Fault::not_found("request", request_id),
        })?;
    let handle = found.ok_or_else(|| Fault::not_found("request", request_id))?;
    Ok(LookupOrderResponse { answer: Some(outcome::of(&handle.snapshot())) })
}
