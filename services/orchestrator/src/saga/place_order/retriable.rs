//! The pivot, and the steps after it, which never refuse.

use async_trait::async_trait;
use spillway_contracts::{
    fulfilment::v1::DispatchShipmentsRequest,
    inventory::v1::ConfirmReservationRequest,
    order::v1::{ActorRole, AdvanceOrderRequest, OrderState},
    payment::v1::CaptureRequest,
};
use spillway_saga::{Context, Outcome, Step, Unknown};
use spillway_types::Fault;

use super::{Link, PlaceOrder};
use crate::{
    clients::{Command, Reply},
    saga::judge,
};

/// Step 4: the money is taken. From here the order only goes forward.
#[derive(Debug)]
pub struct CapturePayment(pub(super) Link);
/// Step 5: what was held is sold.
#[derive(Debug)]
pub struct ConfirmReservation(pub(super) Link);
/// Step 5, beside it: the order is paid.
#[derive(Debug)]
pub struct ConfirmOrder(pub(super) Link);
/// Step 6: the warehouses begin.
#[derive(Debug)]
pub struct DispatchShipments(pub(super) Link);

/// A step after the pivot cannot be refused: whatever its participant says instead of "done" is unknown.
fn without_refusal(reply: Result<Reply, Fault>) -> Outcome<()> {
    match reply {
        Ok(_) => Outcome::Done(()),
        Err(fault) => Outcome::Unknown(Unknown::from(fault)),
    }
}

// === impl CapturePayment ===

#[async_trait]
impl Step<PlaceOrder> for CapturePayment {
    type Output = ();
    const NAME: &'static str = "capture_payment";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<()> {
        let id = cx.id().to_string();
        let request = CaptureRequest { request_id: id.clone(), payment_id: id };
        judge(self.0.0.send(Command::Capture(request), cx.timeout()).await.map(drop))
    }
}

// === impl ConfirmReservation ===

#[async_trait]
impl Step<PlaceOrder> for ConfirmReservation {
    type Output = ();
    const NAME: &'static str = "confirm_reservation";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<()> {
        let id = cx.id().to_string();
        let request = ConfirmReservationRequest { request_id: id.clone(), reservation_id: id, lines: Vec::new() };
        without_refusal(self.0.0.send(Command::ConfirmReservation(request), cx.timeout()).await)
    }
}

// === impl ConfirmOrder ===

#[async_trait]
impl Step<PlaceOrder> for ConfirmOrder {
    type Output = ();
    const NAME: &'static str = "confirm_order";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<()> {
        let id = cx.id().to_string();
        let request = AdvanceOrderRequest {
            request_id: id.clone(),
            order_id: id,
            to_state: OrderState::Paid.into(),
            expected_version: None,
            reason: String::new(),
            actor_role: ActorRole::Saga.into(),
            buyer_id: cx.input().buyer_id.to_string(),
        };
        without_refusal(self.0.0.send(Command::AdvanceOrder(request), cx.timeout()).await)
    }
}

// === impl DispatchShipments ===

#[async_trait]
impl Step<PlaceOrder> for DispatchShipments {
    type Output = ();
    const NAME: &'static str = "dispatch_shipments";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<()> {
        let id = cx.id().to_string();
        let request = DispatchShipmentsRequest { request_id: id.clone(), order_id: id };
        without_refusal(self.0.0.send(Command::DispatchShipments(request), cx.timeout()).await)
    }
}
