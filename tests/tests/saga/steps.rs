//! The steps of place_order, as the definition has them, with the calls they make and how their participants refuse.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use spillway_contracts::{convert::to_money, orchestrator::v1::PlaceOrderRequest};
use spillway_orchestrator::{
    clients::{Command, Reply, Transport},
    saga::place_order,
};
use spillway_saga::{Kind, StepInfo, StepPolicy};
use spillway_tests::faults::{CANCEL_ORDER, Call, PAY_ORDER, VOID};
use spillway_types::{Fault, Money, Reason};

/// How a participant refuses for business reasons: what the order is like, and the reason.
pub(crate) type Refusal = (fn(&mut PlaceOrderRequest), Reason);

/// A step's calls.
pub(crate) struct Calls {
    step: &'static str,
    pub(crate) forward: Call,
    pub(crate) compensation: Option<Call>,
    pub(crate) refusals: &'static [Refusal],
}

/// A step with its calls.
pub(crate) struct Step {
    pub(crate) info: StepInfo,
    pub(crate) calls: &'static Calls,
}

/// The calls of every step; [`all`] asserts that none is missing.
const CALLS: [Calls; 8] = [
    Calls {
        step: "reserve_stock",
        forward: "Reserve",
        compensation: Some("ReleaseReservation"),
        refusals: &[(|order| order.lines[0].quantity = 99, Reason::OutOfStock)],
    },
    // An order is refused only when it was cancelled before it came, which is a mishap of its own.
    Calls { step: "create_order", forward: "CreateOrder", compensation: Some(CANCEL_ORDER), refusals: &[] },
    Calls {
        step: "authorize_payment",
        forward: "Authorize",
        compensation: Some(VOID),
        refusals: &[
            (|order| pay_with(order, "sandbox:declined"), Reason::PaymentDeclined),
            (|order| order.coupon_code = "NO-SUCH-COUPON".to_owned(), Reason::CouponUnavailable),
            (|order| order.points = 100, Reason::InsufficientPoints),
            (|order| order.expected_total = Some(to_money(cent())), Reason::PriceChanged),
        ],
    },
    Calls {
        step: "plan_shipments",
        forward: "PlanShipments",
        compensation: Some("CancelShipments"),
        refusals: &[(ship_too_far, Reason::Unshippable)],
    },
    Calls {
        step: "capture_payment",
        forward: "Capture",
        compensation: None,
        refusals: &[(|order| pay_with(order, CAPTURE_DECLINED), Reason::PaymentDeclined)],
    },
    Calls { step: "confirm_reservation", forward: "ConfirmReservation", compensation: None, refusals: &[] },
    Calls { step: "confirm_order", forward: PAY_ORDER, compensation: None, refusals: &[] },
    Calls { step: "dispatch_shipments", forward: "DispatchShipments", compensation: None, refusals: &[] },
];

/// An instrument with which an order turns back as late as it can: everything is compensated.
pub(crate) const CAPTURE_DECLINED: &str = "sandbox:capture-declined";

/// Nothing is ever sent.
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, _: Command, _: Duration) -> Result<Reply, Fault> {
        Err(Fault::internal())
    }
}

/// Every step of the definition.
pub(crate) fn all() -> Vec<Step> {
    let nowhere: Arc<dyn Transport> = Arc::new(Nowhere);
    let definition = place_order::definition(&nowhere, StepPolicy::default()).unwrap();
    let calls = |name| CALLS.iter().find(|calls| calls.step == name);
    let with_calls = |info: StepInfo| {
        let calls = calls(info.name).unwrap_or_else(|| panic!("{} has no calls in the table", info.name));
        let can_be_undone = info.kind == Kind::Compensatable;
        assert_eq!(calls.compensation.is_some(), can_be_undone, "{}", info.name);
        assert!(info.kind != Kind::Retriable || calls.refusals.is_empty(), "{} never refuses", info.name);
        Step { info, calls }
    };
    let steps: Vec<_> = definition.steps().map(with_calls).collect();
    assert_eq!(steps.len(), CALLS.len(), "the table knows steps that are none");
    steps
}

pub(crate) fn pay_with(order: &mut PlaceOrderRequest, instrument: &str) {
    order.payment_method.as_mut().unwrap().instrument = instrument.to_owned();
}

fn ship_too_far(order: &mut PlaceOrderRequest) {
    order.shipping_address.as_mut().unwrap().region = "US".to_owned();
}

fn cent() -> Money {
    Money::new(1, "EUR".parse().unwrap())
}
