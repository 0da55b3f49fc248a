//! The domain as messages.

use spillway_contracts::{
    convert::{to_money, to_timestamp},
    payment::v1 as pb,
    types::v1::Refusal,
};
use spillway_types::{Money, Timestamp, Violations};

use crate::domain::{Asked, Coupon, CouponState, Payment, State, Wallet};

pub(super) fn payment(payment: Payment) -> pb::Payment {
    let asked = payment.asked.as_ref();
    let money = |minor: fn(&Asked, &Payment) -> i64| {
        asked.map(|asked| to_money(Money::new(minor(asked, &payment), asked.amount.currency)))
    };
    let total = |asked: &Asked, _: &Payment| asked.amount.minor - asked.tenders.discount;
    let captured = |asked: &Asked, payment: &Payment| {
        if payment.state.is_past_capture() { asked.tenders.paid().total() } else { 0 }
    };
    pb::Payment {
        payment_id: payment.payment_id.to_string(),
        buyer_id: asked.map(|asked| asked.buyer.to_string()).unwrap_or_default(),
        state: state(payment.state).into(),
        amount: money(|asked, _| asked.amount.minor),
        discount: money(|asked, _| asked.tenders.discount),
        total: money(total),
        tenders: asked.map(|asked| tenders(&payment, asked)).unwrap_or_default(),
        captured: money(captured),
        refunded: money(|_, payment| payment.refunded.total()),
        decline: payment
            .decline
            .as_ref()
            .filter(|_| payment.state == State::Declined)
            .map(|fault| Refusal { reason: fault.reason.as_str().to_owned(), message: fault.message.clone() }),
        void_reason: payment.void_reason.clone(),
        next_action: None,
        version: payment.version,
        create_time: Some(to_timestamp(payment.created_at)),
        update_time: Some(to_timestamp(payment.updated_at)),
    }
}

fn tenders(payment: &Payment, asked: &Asked) -> Vec<pb::Tender> {
    let (shares, currency) = (&asked.tenders, asked.amount.currency);
    let tender = |kind: pb::TenderKind, amount: i64, refunded: i64| pb::Tender {
        kind: kind.into(),
        amount: Some(to_money(Money::new(amount, currency))),
        points: 0,
        instrument: String::new(),
        provider_reference: String::new(),
        state: tender_state(payment, kind, refunded).into(),
        refunded: Some(to_money(Money::new(refunded, currency))),
    };
    let coupon = shares
        .coupon
        .as_ref()
        .map(|code| pb::Tender { instrument: code.to_string(), ..tender(pb::TenderKind::Coupon, shares.discount, 0) });
    let points = (shares.points > 0).then(|| pb::Tender {
        points: shares.points,
        ..tender(pb::TenderKind::Points, shares.points, payment.refunded.points)
    });
    let method = (shares.method > 0).then(|| pb::Tender {
        instrument: asked.instrument.clone(),
        provider_reference: payment.provider_reference.clone(),
        ..tender(pb::TenderKind::Method, shares.method, payment.refunded.method)
    });
    [coupon, points, method].into_iter().flatten().collect()
}

fn tender_state(payment: &Payment, kind: pb::TenderKind, refunded: i64) -> pb::TenderState {
    let at_provider = kind == pb::TenderKind::Method;
    match payment.state {
        State::Authorizing | State::Voiding if at_provider => pb::TenderState::Pending,
        State::Authorizing | State::Authorized | State::Capturing => pb::TenderState::Held,
        State::Declined | State::Voided if at_provider && payment.decline.is_some() => pb::TenderState::Declined,
        State::Voiding | State::Voided | State::Declined => pb::TenderState::Released,
        State::Captured | State::PartiallyRefunded | State::Refunded if refunded > 0 => pb::TenderState::Refunded,
        State::Captured | State::PartiallyRefunded | State::Refunded => pb::TenderState::Spent,
    }
}

const fn state(state: State) -> pb::PaymentState {
    match state {
        State::Authorizing => pb::PaymentState::Authorizing,
        State::Authorized => pb::PaymentState::Authorized,
        State::Capturing => pb::PaymentState::Capturing,
        State::Captured => pb::PaymentState::Captured,
        State::Voiding => pb::PaymentState::Voiding,
        State::Voided => pb::PaymentState::Voided,
        State::Declined => pb::PaymentState::Declined,
        State::PartiallyRefunded => pb::PaymentState::PartiallyRefunded,
        State::Refunded => pb::PaymentState::Refunded,
    }
}

/// The state of a filter; `None` for those that no payment is ever in: this provider needs nothing more of the buyer.
pub(super) const fn stored_state(state: pb::PaymentState) -> Option<State> {
    match state {
        pb::PaymentState::Unspecified | pb::PaymentState::Pending => None,
        pb::PaymentState::Authorizing => Some(State::Authorizing),
        pb::PaymentState::Authorized => Some(State::Authorized),
        pb::PaymentState::Capturing => Some(State::Capturing),
        pb::PaymentState::Captured => Some(State::Captured),
        pb::PaymentState::Voiding => Some(State::Voiding),
        pb::PaymentState::Voided => Some(State::Voided),
        pb::PaymentState::Declined => Some(State::Declined),
        pb::PaymentState::PartiallyRefunded => Some(State::PartiallyRefunded),
        pb::PaymentState::Refunded => Some(State::Refunded),
    }
}

pub(super) fn wallet(wallet: Wallet, coupons: Vec<Coupon>, now: Timestamp) -> pb::Wallet {
    pb::Wallet {
        buyer_id: wallet.buyer.into(),
        points: wallet.available,
        points_held: wallet.held,
        coupons: coupons.into_iter().map(|one| coupon(one, now)).collect(),
    }
}

fn coupon(coupon: Coupon, now: Timestamp) -> pb::Coupon {
    let state = match coupon.state {
        CouponState::Available if coupon.is_expired(now) => pb::CouponState::Expired,
        CouponState::Available => pb::CouponState::Available,
        CouponState::Held => pb::CouponState::Held,
        CouponState::Spent => pb::CouponState::Spent,
    };
    pb::Coupon {
        code: coupon.code.into(),
        discount: Some(to_money(coupon.discount)),
        minimum: Some(to_money(Money::new(coupon.minimum, coupon.discount.currency))),
        state: state.into(),
        expire_time: coupon.expires_at.map(to_timestamp),
    }
}

/// A count or an amount in minor units that must be more than 0.
pub(super) fn more_than_zero(field: &str, value: Option<i64>, wrong: &mut Violations) -> Option<i64> {
    let value = value?;
    if value > 0 {
        return Some(value);
    }
    wrong.add(field, "must be more than 0");
    None
}
