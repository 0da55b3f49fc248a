//! The participants, as the orchestrator speaks to them.
//!
//! Steps go through [`Transport`], so that how they travel (one unary call each, as in [`grpc`], or many on one stream)
//! is nobody else's concern. Reads for a quote go through [`Catalogue`].

use std::time::Duration;

use async_trait::async_trait;
use spillway_contracts::{
    fulfilment::v1 as fulfilment, inventory::v1 as inventory, order::v1 as order, payment::v1 as payment,
};
use spillway_types::{BuyerId, Fault, Sku};

pub mod grpc;

/// A step's command to a participant.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the request it wraps")]
pub enum Command {
    Reserve(inventory::ReserveRequest),
    ReleaseReservation(inventory::ReleaseReservationRequest),
    ConfirmReservation(inventory::ConfirmReservationRequest),
    CreateOrder(Box<order::CreateOrderRequest>),
    AdvanceOrder(order::AdvanceOrderRequest),
    Authorize(Box<payment::AuthorizeRequest>),
    Void(payment::VoidRequest),
    Capture(payment::CaptureRequest),
    PlanShipments(fulfilment::PlanShipmentsRequest),
    CancelShipments(fulfilment::CancelShipmentsRequest),
    DispatchShipments(fulfilment::DispatchShipmentsRequest),
}

/// A participant's answer: its row as it stands.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the message it wraps")]
pub enum Reply {
    Reservation(inventory::Reservation),
    Order(Box<order::Order>),
    Payment(Box<payment::Payment>),
    Plan(fulfilment::ShipmentPlan),
}

/// Carries commands of steps to participants, once each: retries are the saga's.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a command and waits for its answer, at most for `timeout`.
    ///
    /// # Errors
    /// The participant's fault, or one of the transport's own. Only a fault marked as recorded is a refusal.
    async fn send(&self, command: Command, timeout: Duration) -> Result<Reply, Fault>;
}

/// What a quote needs to know.
#[async_trait]
pub trait Catalogue: Send + Sync + 'static {
    /// An item as it stands.
    ///
    /// # Errors
    /// Inventory's fault, or one of the transport's own.
    async fn item(&self, sku: &Sku) -> Result<inventory::Item, Fault>;

    /// A buyer's points and coupons.
    ///
    /// # Errors
    /// Payment's fault, or one of the transport's own.
    async fn wallet(&self, buyer: &BuyerId) -> Result<payment::Wallet, Fault>;
}

// === impl Command ===

impl Command {
    /// The call's name, for logs and for tests that pick a step's call.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reserve(_) => "Reserve",
            Self::ReleaseReservation(_) => "ReleaseReservation",
            Self::ConfirmReservation(_) => "ConfirmReservation",
            Self::CreateOrder(_) => "CreateOrder",
            Self::AdvanceOrder(_) => "AdvanceOrder",
            Self::Authorize(_) => "Authorize",
            Self::Void(_) => "Void",
            Self::Capture(_) => "Capture",
            Self::PlanShipments(_) => "PlanShipments",
            Self::CancelShipments(_) => "CancelShipments",
            Self::DispatchShipments(_) => "DispatchShipments",
        }
    }
}

// === impl Reply ===

impl Reply {
    /// The reservation that it must be.
    ///
    /// # Errors
    /// When the transport mixed up answers.
    pub fn reservation(self) -> Result<inventory::Reservation, Fault> {
        match self {
            Self::Reservation(reservation) => Ok(reservation),
            Self::Order(_) | Self::Payment(_) | Self::Plan(_) => Err(Fault::internal()),
        }
    }

    /// The order that it must be.
    ///
    /// # Errors
    /// When the transport mixed up answers.
    pub fn order(self) -> Result<order::Order, Fault> {
        match self {
            Self::Order(order) => Ok(*order),
            Self::Reservation(_) | Self::Payment(_) | Self::Plan(_) => Err(Fault::internal()),
        }
    }

    /// The payment that it must be.
    ///
    /// # Errors
    /// When the transport mixed up answers.
    pub fn payment(self) -> Result<payment::Payment, Fault> {
        match self {
            Self::Payment(payment) => Ok(*payment),
            Self::Reservation(_) | Self::Order(_) | Self::Plan(_) => Err(Fault::internal()),
        }
    }

    /// The plan that it must be.
    ///
    /// # Errors
    /// When the transport mixed up answers.
    pub fn plan(self) -> Result<fulfilment::ShipmentPlan, Fault> {
        match self {
            Self::Plan(plan) => Ok(plan),
            Self::Reservation(_) | Self::Order(_) | Self::Payment(_) => Err(Fault::internal()),
        }
    }
}
