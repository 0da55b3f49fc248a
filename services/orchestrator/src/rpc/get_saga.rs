//! `GetSaga`: where a saga stands, step by step.

use spillway_contracts::{
    convert,
    orchestrator::v1::{GetSagaRequest, GetSagaResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::saga, log_failed, saga_id};

pub(super) async fn handle(api: &Api, request: GetSagaRequest) -> Result<GetSagaResponse, Fault> {
    let mut wrong = Violations::default();
    let id = convert::order_id("saga_id", &request.saga_id, &mut wrong);
    let id = wrong.finish(id)?;
    let row = api.log.load(saga_id(id)).await.map_err(|error| log_failed(&error))?;
    let row = row.ok_or_else(|| Fault::not_found("saga", id))?;
    // A saga that ended between the two reads has all there is to know in its row, next time.
    let live = api.engine.attach(saga_id(id)).await.ok().map(|handle| handle.snapshot());
    Ok(GetSagaResponse { saga: Some(saga(&row, live.as_deref())) })
}
