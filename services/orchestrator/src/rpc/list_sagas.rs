//! `ListSagas`: sagas for people, newest first.

use spillway_contracts::{
    convert,
    orchestrator::v1::{ListSagasRequest, ListSagasResponse, SagaState},
    page,
};
use spillway_saga::{SagaId, log::Listing};
use spillway_types::{Fault, Timestamp, Violations};

use super::{
    Api,
    convert::{saga, status},
    log_failed,
};

pub(super) async fn handle(api: &Api, request: ListSagasRequest) -> Result<ListSagasResponse, Fault> {
    let mut wrong = Violations::default();
    let size = page::page_size(request.page_size, &mut wrong);
    let before = page::decode::<(Timestamp, SagaId)>(&request.page_token, &mut wrong);
    let states = convert::enumerated_all::<SagaState>("states", &request.states, &mut wrong);
    let (size, (before, states)) = wrong.finish(size.zip(before.zip(states)))?;
    let statuses = states.into_iter().filter_map(status).collect();
    let listing = Listing { statuses, before, limit: size + 1 };
    let rows = api.log.list(listing).await.map_err(|error| log_failed(&error))?;
    let (rows, next_page_token) = page::cut(rows, size, |last| (last.created, last.id));
    Ok(ListSagasResponse { sagas: rows.iter().map(|row| saga(row, None)).collect(), next_page_token })
}
