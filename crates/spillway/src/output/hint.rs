//! What to do next: a line a reason. Commands that know more put their own in its place.

use spillway_types::{Fault, Reason};

/// What whoever got this fault can do about it.
pub(super) fn of(fault: &Fault) -> String {
    let hint = match fault.reason {
        Reason::InvalidRequest => "correct what is named above; --help shows how it is typed",
        Reason::OutOfStock => "ask for less, or put more in: spillway stock adjust SKU --by N --reason TEXT",
        Reason::PurchaseLimit => "ask for less: the sale limits how many one buyer gets",
        Reason::SaleNotOpen => "come back when the sale is open",
        Reason::NotEligible => "this sale is for other buyers",
        Reason::PriceChanged => "see today's price with --quote, then order again with a new --expect",
        Reason::PaymentDeclined => "nothing was charged; order again with another instrument: --pay sandbox:approved",
        Reason::InsufficientPoints => "see what is there: spillway wallet get BUYER; or pay more by --pay",
        Reason::CouponUnavailable => "see which there are: spillway wallet get BUYER; or order without --coupon",
        Reason::Unshippable => "see where warehouses send to: spillway warehouse list; or order to another --region",
        Reason::RequestIdReused => "leave --request-id away to get a fresh one; repeat a key only with the same order",
        Reason::Cancelled => "order again: a cancelled order stays cancelled, and its key stands for it",
        Reason::Expired => "the hold has lapsed; order again",
        Reason::IllegalTransition => "see where it stands now; this cannot follow from there",
        Reason::NotCancellable => "the order goes on to its buyer: spillway order watch ORDER shows how",
        Reason::NotReturnable => "see where the order stands: spillway order get ORDER",
        Reason::VersionConflict => "somebody else was faster: look again, then decide again",
        Reason::NotFound => return where_to_look(fault),
        Reason::AlreadyExists => "take another name, or change the one that is there",
        Reason::Unauthenticated | Reason::NotAllowed => "ask as somebody who may",
        Reason::BreakerOpen | Reason::Draining => "the service is not well, or restarting; ask again in a moment",
        Reason::Unreachable => "start the platform: spillway dev",
        Reason::Shed | Reason::BulkheadFull | Reason::RateLimited => "the platform is busy; ask again in a moment",
        Reason::DeadlineExceeded => "give it more time: --timeout 20s",
        Reason::OutcomeUnknown => "see what has become of it before asking again",
        Reason::Internal => "ask again; if that does not help, the log of the platform says what is wrong",
    };
    hint.to_owned()
}

fn where_to_look(fault: &Fault) -> String {
    let look = match fault.resource.as_ref().map(|resource| resource.kind.as_str()) {
        Some("order") => "spillway order list",
        Some("saga") => "spillway saga list",
        Some("item") => "spillway stock list",
        Some("shipment") => "spillway shipment list ORDER",
        Some("warehouse") => "spillway warehouse list",
        Some("request") => return "no order was placed under this key; placing it now is safe".to_owned(),
        Some(_) | None => return "check the spelling".to_owned(),
    };
    format!("see which there are: {look}")
}
