//! The steps before the pivot, each with its compensation.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spillway_contracts::{
    convert::{from_money, to_lines, to_money},
    fulfilment::v1::{CancelShipmentsRequest, PlanShipmentsRequest, PlanState},
    inventory::v1::{ReleaseReservationRequest, Reservation, ReservationLine, ReservationState, ReserveRequest},
    order::v1::{ActorRole, AdvanceOrderRequest, CreateOrderRequest, OrderState},
    payment::v1::{AuthorizeRequest, Payment, PaymentState, VoidRequest},
};
use spillway_saga::{Compensate, Context, Outcome, Step, Trigger, Undo, Unknown};
use spillway_types::{Fault, Money, Reason};

use super::{Link, PlaceOrder};
use crate::{
    clients::Command,
    domain::{PriceSnapshot, PricedLine},
    rpc::convert::{to_address, to_price},
    saga::{judge, out_of_place},
};

/// Step 1: all lines are held, pinned, at the prices of the moment.
#[derive(Debug)]
pub struct ReserveStock(pub(super) Link);
/// Step 2: the order becomes readable.
#[derive(Debug)]
pub struct CreateOrder(pub(super) Link);
/// Step 3a: coupon and points are held, the rest is authorised. Its compensation decides whether the saga may turn back.
#[derive(Debug)]
pub struct AuthorizePayment(pub(super) Link);
/// Step 3b, beside 3a: every line has a warehouse.
#[derive(Debug)]
pub struct PlanShipments(pub(super) Link);

/// What the payment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorized {
    /// What the coupon takes off.
    pub discount: Money,
}

/// The longest reason that goes with a compensation, in bytes; participants take no more.
const REASON_MAX: usize = 256;

/// Why the saga turns back, in words that fit a participant's journal: short, and on one line.
fn reason(cx: &Context<PlaceOrder>) -> String {
    let Some(cause) = cx.cause() else { return "turned back".to_owned() };
    let text = format!("{}: {}", cause.fault.reason, cause.fault.message);
    let mut room = REASON_MAX;
    let fits = |c: &char| {
        let before = room;
        room = room.saturating_sub(c.len_utf8());
        before >= c.len_utf8()
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take_while(fits).collect()
}

// === impl ReserveStock ===

#[async_trait]
impl Step<PlaceOrder> for ReserveStock {
    type Output = PriceSnapshot;
    const NAME: &'static str = "reserve_stock";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<PriceSnapshot> {
        let (id, order) = (cx.id().to_string(), cx.input());
        let request = ReserveRequest {
            request_id: id.clone(),
            order_id: id,
            buyer_id: order.buyer_id.to_string(),
            lines: to_lines(order.lines.iter().map(|(sku, quantity)| (sku, *quantity))),
            ttl: None,
            pinned: true,
            retry: cx.redriven(),
        };
        let reply = self.0.0.send(Command::Reserve(request), cx.timeout()).await;
        judge(reply.and_then(|reply| priced(reply.reservation()?)))
    }
}

#[async_trait]
impl Compensate<PlaceOrder> for ReserveStock {
    async fn compensate(&self, cx: &Context<PlaceOrder>) -> Undo {
        let id = cx.id().to_string();
        let request = ReleaseReservationRequest { request_id: id.clone(), reservation_id: id, reason: reason(cx) };
        let reply = self.0.0.send(Command::ReleaseReservation(request), cx.timeout()).await;
        match reply.and_then(|reply| Ok(reply.reservation()?.state())) {
            Ok(ReservationState::Released | ReservationState::Expired) => Undo::Undone,
            Ok(other) => out_of_place("reservation", other.as_str_name()).into(),
            Err(fault) => Unknown::from(fault).into(),
        }
    }
}

fn priced(reservation: Reservation) -> Result<PriceSnapshot, Fault> {
    let line = |line: ReservationLine| {
        let unit_price = line.unit_price.as_ref().and_then(|price| from_money(price).ok());
        let (sku, unit_price) = line.sku.parse().ok().zip(unit_price).ok_or_else(Fault::internal)?;
        Ok(PricedLine { sku, title: line.title, quantity: line.quantity, unit_price })
    };
    let lines = reservation.lines.into_iter().map(line).collect::<Result<Vec<_>, Fault>>()?;
    PriceSnapshot::of(lines).ok().flatten().ok_or_else(Fault::internal)
}

// === impl CreateOrder ===

#[async_trait]
impl Step<PlaceOrder> for CreateOrder {
    type Output = ();
    const NAME: &'static str = "create_order";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<()> {
        let price = match cx.require::<ReserveStock>() {
            Ok(price) => price,
            Err(unknown) => return unknown.into(),
        };
        let (id, order) = (cx.id().to_string(), cx.input());
        let request = CreateOrderRequest {
            request_id: id.clone(),
            order_id: id,
            buyer_id: order.buyer_id.to_string(),
            price: Some(to_price(price, None)),
            shipping_address: Some(to_address(&order.address)),
        };
        judge(self.0.0.send(Command::CreateOrder(Box::new(request)), cx.timeout()).await.map(drop))
    }
}

#[async_trait]
impl Compensate<PlaceOrder> for CreateOrder {
    async fn compensate(&self, cx: &Context<PlaceOrder>) -> Undo {
        let id = cx.id().to_string();
        let request = AdvanceOrderRequest {
            request_id: id.clone(),
            order_id: id,
            to_state: OrderState::Cancelled.into(),
            expected_version: None,
            reason: reason(cx),
            actor_role: ActorRole::Saga.into(),
            buyer_id: cx.input().buyer_id.to_string(),
        };
        let reply = self.0.0.send(Command::AdvanceOrder(request), cx.timeout()).await;
        match reply.and_then(|reply| Ok(reply.order()?.state())) {
            Ok(OrderState::Cancelled) => Undo::Undone,
            Ok(other) => out_of_place("order", other.as_str_name()).into(),
            Err(fault) => Unknown::from(fault).into(),
        }
    }
}

// === impl AuthorizePayment ===

#[async_trait]
impl Step<PlaceOrder> for AuthorizePayment {
    type Output = Authorized;
    const NAME: &'static str = "authorize_payment";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<Authorized> {
        let price = match cx.require::<ReserveStock>() {
            Ok(price) => price,
            Err(unknown) => return unknown.into(),
        };
        let Ok(amount) = price.amount() else {
            return Unknown::permanent(Fault::internal().with("amount", "too large")).into();
        };
        let (id, order) = (cx.id().to_string(), cx.input());
        let request = AuthorizeRequest {
            request_id: id.clone(),
            order_id: id,
            buyer_id: order.buyer_id.to_string(),
            amount: Some(to_money(amount)),
            coupon_code: order.coupon_code.as_ref().map(ToString::to_string).unwrap_or_default(),
            points: order.points,
            instrument: order.instrument.clone(),
            expected_total: order.expected_total.map(to_money),
        };
        let reply = self.0.0.send(Command::Authorize(Box::new(request)), cx.timeout()).await;
        judge(reply.and_then(|reply| authorized(&reply.payment()?, amount)))
    }
}

#[async_trait]
impl Compensate<PlaceOrder> for AuthorizePayment {
    async fn compensate(&self, cx: &Context<PlaceOrder>) -> Undo {
        let id = cx.id().to_string();
        let only_if_unpaid = cx.cause().is_some_and(|cause| cause.trigger == Trigger::Timer);
        let request = VoidRequest { request_id: id.clone(), payment_id: id, reason: reason(cx), only_if_unpaid };
        let reply = self.0.0.send(Command::Void(request), cx.timeout()).await;
        match reply.and_then(|reply| Ok(reply.payment()?.state())) {
            Ok(PaymentState::Voided | PaymentState::Declined) => Undo::Undone,
            Ok(PaymentState::Captured | PaymentState::PartiallyRefunded | PaymentState::Refunded) => Undo::PivotPassed,
            Ok(PaymentState::Authorized) if only_if_unpaid => Undo::Stands,
            Ok(PaymentState::Authorizing | PaymentState::Voiding | PaymentState::Capturing) => {
                Unknown::passing(undecided()).into()
            }
            Ok(other @ (PaymentState::Authorized | PaymentState::Pending | PaymentState::Unspecified)) => {
                out_of_place("payment", other.as_str_name()).into()
            }
            Err(fault) => Unknown::from(fault).into(),
        }
    }
}

/// A repeat may find the payment further on than authorised, which is as good; a refusal is no answer but a fault.
fn authorized(payment: &Payment, amount: Money) -> Result<Authorized, Fault> {
    if matches!(payment.state(), PaymentState::Authorizing | PaymentState::Pending | PaymentState::Unspecified) {
        return Err(undecided());
    }
    let discount = payment.discount.as_ref().map(from_money).transpose();
    let discount = discount.map_err(|error| Fault::internal().with("discount", error))?;
    Ok(Authorized { discount: discount.unwrap_or(Money::zero(amount.currency)) })
}

fn undecided() -> Fault {
    Fault::new(Reason::OutcomeUnknown, "the provider has not said yet")
}

// === impl PlanShipments ===

#[async_trait]
impl Step<PlaceOrder> for PlanShipments {
    type Output = ();
    const NAME: &'static str = "plan_shipments";

    async fn run(&self, cx: &Context<PlaceOrder>) -> Outcome<()> {
        let (id, order) = (cx.id().to_string(), cx.input());
        let request = PlanShipmentsRequest {
            request_id: id.clone(),
            order_id: id,
            region: order.address.region.clone(),
            lines: to_lines(order.lines.iter().map(|(sku, quantity)| (sku, *quantity))),
        };
        judge(self.0.0.send(Command::PlanShipments(request), cx.timeout()).await.map(drop))
    }
}

#[async_trait]
impl Compensate<PlaceOrder> for PlanShipments {
    async fn compensate(&self, cx: &Context<PlaceOrder>) -> Undo {
        let id = cx.id().to_string();
        let request = CancelShipmentsRequest { request_id: id.clone(), order_id: id, reason: reason(cx) };
        let reply = self.0.0.send(Command::CancelShipments(request), cx.timeout()).await;
        match reply.and_then(|reply| Ok(reply.plan()?.state())) {
            Ok(PlanState::Cancelled) => Undo::Undone,
            Ok(other) => out_of_place("plan", other.as_str_name()).into(),
            Err(fault) => Unknown::from(fault).into(),
        }
    }
}
