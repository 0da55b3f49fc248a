//! What can be asked of the till, and what it answers.

use serde::Serialize;
use spillway_types::{BuyerId, CouponCode, Fingerprint, Money, OrderId, RequestId, Timestamp};

use super::{Outcome, Payment, Task};

/// Something asked of the till.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Holds coupon and points, and asks the provider for the rest.
    Authorize {
        /// What is to be paid, and with what.
        body: Authorize,
        /// What the command said.
        fingerprint: Fingerprint,
    },
    /// Takes the money.
    Capture(OrderId),
    /// Decides against the payment.
    Void(Void),
    /// Gives captured money back.
    Refund(Once<Refunding>),
    /// Notes what the provider said.
    Settle {
        /// Which payment.
        payment_id: OrderId,
        /// What became of what it was asked.
        outcome: Outcome,
    },
    /// Asks what the provider still has to be asked, of a payment or of one of its refunds.
    Resume {
        /// Which payment.
        payment_id: OrderId,
        /// Which refund; the payment itself when absent.
        refund: Option<RequestId>,
    },
    /// Gives a buyer points.
    GrantPoints(Once<GrantPoints>),
    /// Gives a buyer a coupon.
    IssueCoupon(Once<IssueCoupon>),
}

/// A command that is remembered by its caller's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once<T> {
    /// The caller's key.
    pub request_id: RequestId,
    /// What the command said.
    pub fingerprint: Fingerprint,
    /// The command.
    pub body: T,
}

/// Asks for a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authorize {
    /// Whose payment.
    pub payment_id: OrderId,
    /// Who pays.
    pub buyer: BuyerId,
    /// Price of the order before coupon and points; not negative.
    pub amount: Money,
    /// A coupon to take off.
    pub coupon: Option<CouponCode>,
    /// Points to spend at most; not negative.
    pub points: i64,
    /// What pays for the rest; may be empty.
    pub instrument: String,
    /// What the buyer expects to pay after the coupon.
    pub expected_total: Option<Money>,
    /// What the provider has against the instrument, if anything. No part of what the caller said.
    #[serde(skip)]
    pub instrument_problem: Option<String>,
}

/// Decides against a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// Whose payment.
    pub payment_id: OrderId,
    /// Why, for people.
    pub reason: String,
    /// Leaves a payment alone for which the buyer has done his part.
    pub only_if_unpaid: bool,
}

/// Gives captured money back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refunding {
    /// Whose payment.
    pub payment_id: OrderId,
    /// How much; more than 0.
    pub amount: Money,
    /// Why, for people.
    pub reason: String,
}

/// Gives points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantPoints {
    /// To whom.
    pub buyer: BuyerId,
    /// How many; more than 0.
    pub points: i64,
    /// Why, for people.
    pub reason: String,
}

/// Gives a coupon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IssueCoupon {
    /// To whom.
    pub buyer: BuyerId,
    /// What the buyer types.
    pub code: CouponCode,
    /// How much it takes off; more than 0.
    pub discount: Money,
    /// The least price it is good for, in minor units of the same currency; not negative.
    pub minimum: i64,
    /// First moment at which it can no longer be used.
    pub expires_at: Option<Timestamp>,
}

/// What the till answers when it does not refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The payment as it now is; nothing is open that the caller would have to wait for.
    Payment(Box<Payment>),
    /// The provider has to be asked first.
    Open {
        /// What to ask.
        task: Task,
        /// Whether this very command made it necessary. If not, the provider may have been asked before.
        fresh: bool,
    },
    /// The wallet has changed.
    Wallet,
}

// === impl Command ===

impl Command {
    /// An authorisation, with its fingerprint.
    pub fn authorize(body: Authorize) -> Self {
        let fingerprint = Fingerprint::of(&body);
        Self::Authorize { body, fingerprint }
    }
}

// === impl Once ===

impl<T: Serialize> Once<T> {
    /// A command under its caller's key, with its fingerprint.
    pub fn new(request_id: RequestId, body: T) -> Self {
        Self { request_id, fingerprint: Fingerprint::of(&body), body }
    }
}
