//! A coupon: a promise of so much off, once.

use std::{fmt, str::FromStr};

use spillway_types::{BuyerId, CouponCode, Fault, Money, OrderId, Reason, Timestamp};

/// Whose coupon, and which.
pub type CouponKey = (BuyerId, CouponCode);

/// Where a coupon stands. That its time is over is not a state but a fact about `expires_at` and the present moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CouponState {
    /// Can be used.
    Available,
    /// Held for a payment that is not decided yet.
    Held,
    /// Used.
    Spent,
}

/// One coupon of one buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    /// Whose.
    pub buyer: BuyerId,
    /// What the buyer types.
    pub code: CouponCode,
    /// How much it takes off.
    pub discount: Money,
    /// The least price it is good for, in minor units of the same currency.
    pub minimum: i64,
    /// First moment at which it can no longer be used.
    pub expires_at: Option<Timestamp>,
    /// Where it stands.
    pub state: CouponState,
    /// The payment it is held or spent for.
    pub payment_id: Option<OrderId>,
    /// Raised by one with every change.
    pub version: i64,
}

// === impl CouponState ===

impl CouponState {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "AVAILABLE",
            Self::Held => "HELD",
            Self::Spent => "SPENT",
        }
    }
}

impl FromStr for CouponState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "AVAILABLE" => Ok(Self::Available),
            "HELD" => Ok(Self::Held),
            "SPENT" => Ok(Self::Spent),
            other => Err(format!("{other:?} is no coupon state")),
        }
    }
}

impl fmt::Display for CouponState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Coupon ===

impl Coupon {
    /// Its key.
    pub fn key(&self) -> CouponKey {
        (self.buyer.clone(), self.code.clone())
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What it takes off a price.
    ///
    /// # Errors
    /// `COUPON_UNAVAILABLE` when it cannot be used for it, and why.
    pub fn discount_on(&self, price: Money, now: Timestamp) -> Result<i64, Fault> {
        let why = match self.state {
            CouponState::Held => "is in use for another order".to_owned(),
            CouponState::Spent => "was used before".to_owned(),
            CouponState::Available if self.is_expired(now) => "has expired".to_owned(),
            CouponState::Available if self.discount.currency != price.currency => {
                format!("is good for prices in {} only", self.discount.currency)
            }
            CouponState::Available if price.minor < self.minimum => {
                let minimum = Money::new(self.minimum, price.currency);
                format!("is good for prices from {minimum} only")
            }
            CouponState::Available => return Ok(self.discount.minor.min(price.minor)),
        };
        Err(unavailable(&self.code, &why))
    }

    /// The coupon in another state, for a payment or for none.
    pub fn put(&self, state: CouponState, payment_id: Option<OrderId>) -> Self {
        Self { state, payment_id, version: self.version + 1, ..self.clone() }
    }
}

/// The refusal of a coupon.
pub fn unavailable(code: &CouponCode, why: &str) -> Fault {
    Fault::new(Reason::CouponUnavailable, format!("coupon {code} {why}; order without it or with another"))
        .with("coupon_code", code)
        .with_precondition("COUPON", code, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur(minor: i64) -> Money {
        Money::new(minor, "EUR".parse().unwrap())
    }

    #[test]
    fn a_coupon_is_good_once_in_time_and_from_its_minimum() {
        let coupon = Coupon {
            buyer: BuyerId::new("ada").unwrap(),
            code: CouponCode::new("TEN").unwrap(),
            discount: eur(1_000),
            minimum: 500,
            expires_at: Some(Timestamp::from_micros(100)),
            state: CouponState::Available,
            payment_id: None,
            version: 1,
        };
        let (before, at) = (Timestamp::from_micros(99), Timestamp::from_micros(100));
        assert_eq!(coupon.discount_on(eur(5_000), before), Ok(1_000));
        assert_eq!(coupon.discount_on(eur(700), before), Ok(700), "never more than the price");
        let yen = Money::new(5_000, "JPY".parse().unwrap());
        for (coupon, price, now) in [
            (coupon.clone(), eur(499), before),
            (coupon.clone(), eur(5_000), at),
            (coupon.clone(), yen, before),
            (coupon.put(CouponState::Held, None), eur(5_000), before),
            (coupon.put(CouponState::Spent, None), eur(5_000), before),
        ] {
            let fault = coupon.discount_on(price, now).unwrap_err();
            assert_eq!(fault.reason, Reason::CouponUnavailable, "{fault}");
        }
    }
}
