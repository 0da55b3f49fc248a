//! Checkout and sagas over gRPC: one file a verb; each parses, decides, answers.

use std::{sync::Arc, time::Duration};

use spillway_contracts::orchestrator::v1::{
    CancelOrderRequest, CancelOrderResponse, GetSagaRequest, GetSagaResponse, ListSagasRequest, ListSagasResponse,
    LookupOrderRequest, LookupOrderResponse, PlaceOrderRequest, PlaceOrderResponse,
    checkout_service_server::CheckoutService, saga_service_server::SagaService,
};
use spillway_middleware::{deadline, status::from_fault};
use spillway_saga::{Engine, Log, LogError, SagaId};
use spillway_types::{Clock, Fault, OrderId, Reason};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::clients::Catalogue;

mod cancel_order;
pub(crate) mod convert;
mod get_saga;
mod list_sagas;
mod lookup_order;
mod outcome;
mod place_order;
mod quote;

/// The service's handlers.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What is kept of the caller's time for the way back.
const ANSWER_RESERVE: Duration = Duration::from_millis(20);
/// How long to wait for a decision when the caller does not say.
const PATIENCE: Duration = Duration::from_secs(5);

type Answered<T> = Result<Response<T>, Status>;

fn answered<T>(result: Result<T, Fault>) -> Answered<T> {
    result.map(Response::new).map_err(from_fault)
}

/// When a caller has to be answered, decided or not.
fn answer_by() -> Instant {
    deadline::current().map_or_else(|| Instant::now() + PATIENCE, |at| at - ANSWER_RESERVE)
}

/// The saga that placed an order carries the order's id.
const fn saga_id(order_id: OrderId) -> SagaId {
    SagaId(order_id.uuid())
}

/// What a caller hears when the log fails. The cause is for our own log.
fn log_failed(error: &LogError) -> Fault {
    tracing::error!(%error, "saga log failed");
    Fault::new(Reason::OutcomeUnknown, "the outcome is not known; ask again with the same request_id")
}

#[tonic::async_trait]
impl CheckoutService for Api {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Answered<PlaceOrderResponse> {
        answered(place_order::handle(self, request.into_inner()).await)
    }

    async fn cancel_order(&self, request: Request<CancelOrderRequest>) -> Answered<CancelOrderResponse> {
        answered(cancel_order::handle(self, request.into_inner()).await)
    }

    async fn lookup_order(&self, request: Request<LookupOrderRequest>) -> Answered<LookupOrderResponse> {
        answered(lookup_order::handle(self, request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl SagaService for Api {
    async fn get_saga(&self, request: Request<GetSagaRequest>) -> Answered<GetSagaResponse> {
        answered(get_saga::handle(self, request.into_inner()).await)
    }

    async fn list_sagas(&self, request: Request<ListSagasRequest>) -> Answered<ListSagasResponse> {
        answered(list_sagas::handle(self, request.into_inner()).await)
    }
}
