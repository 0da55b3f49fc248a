//! Fulfilment over gRPC: one file a verb; each parses, decides, answers.

use std::sync::Arc;

use spillway_contracts::fulfilment::v1::{
    CancelShipmentsRequest, CancelShipmentsResponse, CreateWarehouseRequest, CreateWarehouseResponse,
    DispatchShipmentsRequest, DispatchShipmentsResponse, GetShipmentRequest, GetShipmentResponse, ListShipmentsRequest,
    ListShipmentsResponse, ListWarehousesRequest, ListWarehousesResponse, PlanShipmentsRequest, PlanShipmentsResponse,
    RecordCarrierEventRequest, RecordCarrierEventResponse, UpdateWarehouseRequest, UpdateWarehouseResponse,
    fulfilment_service_server::FulfilmentService, warehouse_service_server::WarehouseService,
};
use spillway_middleware::status::from_fault;
use spillway_storage::Committer;
use spillway_types::Fault;
use tonic::{Request, Response, Status};

use crate::{
    domain::{Answer, Command, Planned, Shipment, Warehouse},
    store::{Desk, Reader},
};

mod cancel_shipments;
mod convert;
mod create_warehouse;
mod dispatch_shipments;
mod get_shipment;
mod list_shipments;
mod list_warehouses;
mod plan_shipments;
mod record_carrier_event;
mod update_warehouse;

/// The service's handlers.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) committer: Committer<Desk>,
    pub(crate) reader: Arc<dyn Reader>,
}

type Answered<T> = Result<Response<T>, Status>;

/// Hands a command to the writer. Its worker owns the write: a caller that leaves does not abort it.
async fn submit(api: &Api, command: Command) -> Result<Answer, Fault> {
    api.committer.submit(command).await?
}

/// The same, for commands that answer a plan.
async fn submit_plan(api: &Api, command: Command) -> Result<Planned, Fault> {
    match submit(api, command).await? {
        Answer::Plan(planned) => Ok(planned),
        Answer::Shipment(_) | Answer::Warehouse(_) => Err(Fault::internal()),
    }
}

/// The same, for commands that answer a shipment.
async fn submit_shipment(api: &Api, command: Command) -> Result<Shipment, Fault> {
    match submit(api, command).await? {
        Answer::Shipment(shipment) => Ok(shipment),
        Answer::Plan(_) | Answer::Warehouse(_) => Err(Fault::internal()),
    }
}

/// The same, for commands that answer a warehouse.
async fn submit_warehouse(api: &Api, command: Command) -> Result<Warehouse, Fault> {
    match submit(api, command).await? {
        Answer::Warehouse(warehouse) => Ok(warehouse),
        Answer::Plan(_) | Answer::Shipment(_) => Err(Fault::internal()),
    }
}

fn answered<T>(result: Result<T, Fault>) -> Answered<T> {
    result.map(Response::new).map_err(from_fault)
}

#[tonic::async_trait]
impl FulfilmentService for Api {
    async fn plan_shipments(&self, request: Request<PlanShipmentsRequest>) -> Answered<PlanShipmentsResponse> {
        answered(plan_shipments::handle(self, request.into_inner()).await)
    }

    async fn cancel_shipments(&self, request: Request<CancelShipmentsRequest>) -> Answered<CancelShipmentsResponse> {
        answered(cancel_shipments::handle(self, request.into_inner()).await)
    }

    async fn dispatch_shipments(
        &self,
        request: Request<DispatchShipmentsRequest>,
    ) -> Answered<DispatchShipmentsResponse> {
        answered(dispatch_shipments::handle(self, request.into_inner()).await)
    }

    async fn record_carrier_event(
        &self,
        request: Request<RecordCarrierEventRequest>,
    ) -> Answered<RecordCarrierEventResponse> {
        answered(record_carrier_event::handle(self, request.into_inner()).await)
    }

    async fn get_shipment(&self, request: Request<GetShipmentRequest>) -> Answered<GetShipmentResponse> {
        answered(get_shipment::handle(self, request.into_inner()).await)
    }

    async fn list_shipments(&self, request: Request<ListShipmentsRequest>) -> Answered<ListShipmentsResponse> {
        answered(list_shipments::handle(self, request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl WarehouseService for Api {
    async fn create_warehouse(&self, request: Request<CreateWarehouseRequest>) -> Answered<CreateWarehouseResponse> {
        answered(create_warehouse::handle(self, request.into_inner()).await)
    }

    async fn update_warehouse(&self, request: Request<UpdateWarehouseRequest>) -> Answered<UpdateWarehouseResponse> {
        answered(update_warehouse::handle(self, request.into_inner()).await)
    }

    async fn list_warehouses(&self, request: Request<ListWarehousesRequest>) -> Answered<ListWarehousesResponse> {
        answered(list_warehouses::handle(self, request.into_inner()).await)
    }
}

#[cfg(test)]
mod tests;
