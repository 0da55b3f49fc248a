//! The participants over gRPC: one unary call a command, through the middleware's client stack.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use spillway_contracts::{
    fulfilment::v1::fulfilment_service_client::FulfilmentServiceClient,
    inventory::v1::{GetItemRequest, Item, inventory_service_client::InventoryServiceClient},
    order::v1::order_service_client::OrderServiceClient,
    payment::v1::{
        GetWalletRequest, Wallet, payment_service_client::PaymentServiceClient,
        wallet_service_client::WalletServiceClient,
    },
};
use spillway_middleware::{deadline, stack::Client, status::to_fault};
use spillway_types::{BuyerId, Fault, Sku};
use tokio::time::Instant;
use tonic::{Response, Status};

use super::{Catalogue, Command, Reply, Transport};

/// A channel to each participant.
#[derive(Clone, Debug)]
pub struct Participants {
    /// To inventory.
    pub inventory: Client,
    /// To order.
    pub order: Client,
    /// To payment.
    pub payment: Client,
    /// To fulfilment.
    pub fulfilment: Client,
}

/// The participants, one unary call a command.
#[derive(Clone, Debug)]
pub struct Unary {
    inventory: InventoryServiceClient<Client>,
    order: OrderServiceClient<Client>,
    payment: PaymentServiceClient<Client>,
    wallet: WalletServiceClient<Client>,
    fulfilment: FulfilmentServiceClient<Client>,
}

// === impl Unary ===

impl Unary {
    /// Typed clients over channels.
    pub fn new(participants: Participants) -> Self {
        let Participants { inventory, order, payment, fulfilment } = participants;
        Self {
            inventory: InventoryServiceClient::new(inventory),
            order: OrderServiceClient::new(order),
            payment: PaymentServiceClient::new(payment.clone()),
            wallet: WalletServiceClient::new(payment),
            fulfilment: FulfilmentServiceClient::new(fulfilment),
        }
    }

    async fn call(&self, command: Command) -> Result<Reply, Fault> {
        // Clones of a client share its channel, breaker and bulkhead.
        let Self { mut inventory, mut order, mut payment, mut fulfilment, .. } = self.clone();
        match command {
            Command::Reserve(request) => {
                answer(inventory.reserve(request), |reply| reply.reservation.map(Reply::Reservation)).await
            }
            Command::ReleaseReservation(request) => {
                answer(inventory.release_reservation(request), |reply| reply.reservation.map(Reply::Reservation)).await
            }
            Command::ConfirmReservation(request) => {
                answer(inventory.confirm_reservation(request), |reply| reply.reservation.map(Reply::Reservation)).await
            }
            Command::CreateOrder(request) => {
                answer(order.create_order(*request), |reply| reply.order.map(Box::new).map(Reply::Order)).await
            }
            Command::AdvanceOrder(request) => {
                answer(order.advance_order(request), |reply| reply.order.map(Box::new).map(Reply::Order)).await
            }
            Command::Authorize(request) => {
                answer(payment.authorize(*request), |reply| reply.payment.map(Box::new).map(Reply::Payment)).await
            }
            Command::Void(request) => {
                answer(payment.void(request), |reply| reply.payment.map(Box::new).map(Reply::Payment)).await
            }
            Command::Capture(request) => {
                answer(payment.capture(request), |reply| reply.payment.map(Box::new).map(Reply::Payment)).await
            }
            Command::PlanShipments(request) => {
                answer(fulfilment.plan_shipments(request), |reply| reply.plan.map(Reply::Plan)).await
            }
            Command::CancelShipments(request) => {
                answer(fulfilment.cancel_shipments(request), |reply| reply.plan.map(Reply::Plan)).await
            }
            Command::DispatchShipments(request) => {
                answer(fulfilment.dispatch_shipments(request), |reply| reply.plan.map(Reply::Plan)).await
            }
        }
    }
}

/// Waits for a reply and takes out of it what it wraps. A reply without it is a slip on the other side.
async fn answer<M, T>(
    call: impl Future<Output = Result<Response<M>, Status>>,
    wrapped: impl FnOnce(M) -> Option<T>,
) -> Result<T, Fault> {
    match call.await {
        Ok(reply) => wrapped(reply.into_inner()).ok_or_else(Fault::internal),
        Err(status) => Err(to_fault(&status)),
    }
}

#[async_trait]
impl Transport for Unary {
    async fn send(&self, command: Command, timeout: Duration) -> Result<Reply, Fault> {
        // A step has a deadline of its own: neither the caller's nor the absence of one is inherited.
        deadline::scope(Some(Instant::now() + timeout), self.call(command)).await
    }
}

#[async_trait]
impl Catalogue for Unary {
    async fn item(&self, sku: &Sku) -> Result<Item, Fault> {
        let mut inventory = self.inventory.clone();
        let request = GetItemRequest { sku: sku.to_string() };
        answer(inventory.get_item(request), |reply| reply.item).await
    }

    async fn wallet(&self, buyer: &BuyerId) -> Result<Wallet, Fault> {
        let mut wallet = self.wallet.clone();
        let request = GetWalletRequest { buyer_id: buyer.to_string() };
        answer(wallet.get_wallet(request), |reply| reply.wallet).await
    }
}
