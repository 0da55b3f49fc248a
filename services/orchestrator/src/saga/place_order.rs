//! `place_order`: from a buyer's wish to parcels on their way.
//!
//! ```text
//!  reserve_stock ─► create_order ─┬► authorize_payment ─┬► capture_payment ─┬► confirm_reservation ─┬► dispatch_shipments
//!                                 └► plan_shipments ────┘      (pivot)      └► confirm_order ───────┘
//! ```
//!
//! `PlaceOrder` is answered once both confirmations are done. Turning back asks Void first and alone: captured and voided
//! meet in the payment's row, so exactly one of them wins.

mod compensatable;
mod retriable;

use std::{fmt, sync::Arc};

use spillway_saga::{Definition, DefinitionError, Saga, Step, StepPolicy};

pub use self::compensatable::{AuthorizePayment, Authorized, CreateOrder, PlanShipments, ReserveStock};
pub use self::retriable::{CapturePayment, ConfirmOrder, ConfirmReservation, DispatchShipments};
use crate::{clients::Transport, domain::NewOrder};

/// The saga. Its id is the order's.
#[derive(Clone, Copy, Debug)]
pub struct PlaceOrder;

impl Saga for PlaceOrder {
    type Input = NewOrder;
    const NAME: &'static str = "place_order";
    const VERSION: u32 = 1;
}

/// What every step has: a way to its participant.
#[derive(Clone)]
struct Link(Arc<dyn Transport>);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// The definition, over a transport.
///
/// # Errors
/// When the policy is senseless.
pub fn definition(transport: &Arc<dyn Transport>, policy: StepPolicy) -> Result<Definition, DefinitionError> {
    let link = || Link(Arc::clone(transport));
    let after_payment = [AuthorizePayment::NAME, PlanShipments::NAME];
    let confirmations = [ConfirmReservation::NAME, ConfirmOrder::NAME];
    Definition::builder::<PlaceOrder>()
        .compensatable(ReserveStock(link()), &[], policy)
        .compensatable(CreateOrder(link()), &[ReserveStock::NAME], policy)
        .compensatable(AuthorizePayment(link()), &[CreateOrder::NAME], policy)
        .compensatable(PlanShipments(link()), &[CreateOrder::NAME], policy)
        .pivot(CapturePayment(link()), &after_payment, policy)
        .retriable(ConfirmReservation(link()), &[CapturePayment::NAME], policy)
        .retriable(ConfirmOrder(link()), &[CapturePayment::NAME], policy)
        .retriable(DispatchShipments(link()), &confirmations, policy)
        .arbiter(AuthorizePayment::NAME)
        .answer_after(&confirmations)
        .build()
}
