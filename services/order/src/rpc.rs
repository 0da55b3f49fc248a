//! Orders over gRPC: one file a verb; each parses, decides, answers.

use std::{fmt, sync::Arc};

use spillway_contracts::order::v1::{
    AdvanceOrderRequest, AdvanceOrderResponse, CreateOrderRequest, CreateOrderResponse, GetOrderRequest,
    GetOrderResponse, ListOrderEventsRequest, ListOrderEventsResponse, ListOrdersRequest, ListOrdersResponse,
    WatchOrderRequest, WatchOrderResponse, order_service_server::OrderService,
};
use spillway_middleware::status::from_fault;
use spillway_storage::Committer;
use spillway_types::{Clock, Fault, OrderId, TenantId};
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{
    config::WatchConfig,
    domain::{Answer, Command, Order, order::unknown},
    store::{Orders, Reader, hub::Hub, lookup::Lookup},
};

mod advance_order;
mod convert;
mod create_order;
mod get_order;
mod list_order_events;
mod list_orders;
mod watch_order;

/// The service's handlers.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) committer: Committer<Orders>,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) hub: Hub,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) watch: WatchConfig,
}

type Answered<T> = Result<Response<T>, Status>;

/// Hands a command to the store. Its worker owns the write: a caller that leaves does not abort it.
async fn submit(api: &Api, command: Command) -> Result<Order, Fault> {
    match api.committer.submit(command).await?? {
        Answer::Order(order) => Ok(*order),
        Answer::Followed(_) => Err(Fault::internal()),
    }
}

/// The caller's order; another tenant's is unknown to it.
async fn known_order(api: &Api, order_id: OrderId) -> Result<Order, Fault> {
    let found = api.reader.order(order_id).await?.filter(|order| order.tenant_id == caller_tenant());
    found.ok_or_else(|| unknown(order_id, api.clock.now()))
}

/// The caller's tenant. Callers have no identity of their own in embedded mode.
fn caller_tenant() -> TenantId {
    TenantId::default()
}

fn answered<T>(result: Result<T, Fault>) -> Answered<T> {
    result.map(Response::new).map_err(from_fault)
}

#[tonic::async_trait]
impl OrderService for Api {
    type WatchOrderStream = BoxStream<WatchOrderResponse>;

    async fn create_order(&self, request: Request<CreateOrderRequest>) -> Answered<CreateOrderResponse> {
        answered(create_order::handle(self, request.into_inner()).await)
    }

    async fn advance_order(&self, request: Request<AdvanceOrderRequest>) -> Answered<AdvanceOrderResponse> {
        answered(advance_order::handle(self, request.into_inner()).await)
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Answered<GetOrderResponse> {
        answered(get_order::handle(self, request.into_inner()).await)
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Answered<ListOrdersResponse> {
        answered(list_orders::handle(self, request.into_inner()).await)
    }

    async fn list_order_events(&self, request: Request<ListOrderEventsRequest>) -> Answered<ListOrderEventsResponse> {
        answered(list_order_events::handle(self, request.into_inner()).await)
    }

    async fn watch_order(&self, request: Request<WatchOrderRequest>) -> Answered<Self::WatchOrderStream> {
        answered(watch_order::handle(self, &request.into_inner()))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("committer", &self.committer).field("hub", &self.hub).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
