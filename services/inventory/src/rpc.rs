//! The ledger over gRPC: one file a verb; each parses, decides, answers.

use std::sync::Arc;

use spillway_contracts::inventory::v1::{
    AdjustStockRequest, AdjustStockResponse, ConfirmReservationRequest, ConfirmReservationResponse, CreateItemRequest,
    CreateItemResponse, GetItemRequest, GetItemResponse, GetReservationRequest, GetReservationResponse,
    ListItemsRequest, ListItemsResponse, PinReservationRequest, PinReservationResponse, ReleaseReservationRequest,
    ReleaseReservationResponse, ReserveRequest, ReserveResponse, UpdateItemRequest, UpdateItemResponse,
    inventory_service_server::InventoryService,
};
use spillway_middleware::status::from_fault;
use spillway_storage::Committer;
use spillway_types::Fault;
use tonic::{Request, Response, Status};

use crate::{
    domain::{Answer, Command, Item, Reservation},
    store::{Ledger, Reader, gate::Gate},
};

mod adjust_stock;
mod confirm_reservation;
mod convert;
mod create_item;
mod get_item;
mod get_reservation;
mod list_items;
mod pin_reservation;
mod release_reservation;
mod reserve;
mod update_item;

/// The service's handlers.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) committer: Committer<Ledger>,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) gate: Arc<Gate>,
}

type Answered<T> = Result<Response<T>, Status>;

/// Hands a command to the ledger. Its worker owns the write: a caller that leaves does not abort it.
async fn submit(api: &Api, command: Command) -> Result<Answer, Fault> {
    api.committer.submit(command).await?
}

/// The same, for commands that answer an item.
async fn submit_item(api: &Api, command: Command) -> Result<Item, Fault> {
    match submit(api, command).await? {
        Answer::Item(item) => Ok(item),
        Answer::Reservation(_) | Answer::Expired(_) => Err(Fault::internal()),
    }
}

/// The same, for commands that answer a reservation.
async fn submit_reservation(api: &Api, command: Command) -> Result<Reservation, Fault> {
    match submit(api, command).await? {
        Answer::Reservation(reservation) => Ok(reservation),
        Answer::Item(_) | Answer::Expired(_) => Err(Fault::internal()),
    }
}

fn answered<T>(result: Result<T, Fault>) -> Answered<T> {
    result.map(Response::new).map_err(from_fault)
}

#[tonic::async_trait]
impl InventoryService for Api {
    async fn create_item(&self, request: Request<CreateItemRequest>) -> Answered<CreateItemResponse> {
        answered(create_item::handle(self, request.into_inner()).await)
    }

    async fn update_item(&self, request: Request<UpdateItemRequest>) -> Answered<UpdateItemResponse> {
        answered(update_item::handle(self, request.into_inner()).await)
    }

    async fn adjust_stock(&self, request: Request<AdjustStockRequest>) -> Answered<AdjustStockResponse> {
        answered(adjust_stock::handle(self, request.into_inner()).await)
    }

    async fn get_item(&self, request: Request<GetItemRequest>) -> Answered<GetItemResponse> {
        answered(get_item::handle(self, request.into_inner()).await)
    }

    async fn list_items(&self, request: Request<ListItemsRequest>) -> Answered<ListItemsResponse> {
        answered(list_items::handle(self, request.into_inner()).await)
    }

    async fn reserve(&self, request: Request<ReserveRequest>) -> Answered<ReserveResponse> {
        answered(reserve::handle(self, request).await)
    }

    async fn pin_reservation(&self, request: Request<PinReservationRequest>) -> Answered<PinReservationResponse> {
        answered(pin_reservation::handle(self, request.into_inner()).await)
    }

    async fn confirm_reservation(
        &self,
        request: Request<ConfirmReservationRequest>,
    ) -> Answered<ConfirmReservationResponse> {
        answered(confirm_reservation::handle(self, request.into_inner()).await)
    }

    async fn release_reservation(
        &self,
        request: Request<ReleaseReservationRequest>,
    ) -> Answered<ReleaseReservationResponse> {
        answered(release_reservation::handle(self, request.into_inner()).await)
    }

    async fn get_reservation(&self, request: Request<GetReservationRequest>) -> Answered<GetReservationResponse> {
        answered(get_reservation::handle(self, request.into_inner()).await)
    }
}
