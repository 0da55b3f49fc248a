//! What an order is paid with: coupon first, then points, the rest on the method.

use spillway_types::CouponCode;

/// The shares of one payment, in minor units of its currency. They add up to the price, or are all zero for a payment
/// that was refused before anything was shared out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenders {
    /// The coupon that takes something off.
    pub coupon: Option<CouponCode>,
    /// What it takes off.
    pub discount: i64,
    /// What is paid with points: 1 point is 1 minor unit.
    pub points: i64,
    /// What is left for the provider.
    pub method: i64,
}

/// The two shares of a payment that can be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// In points.
    pub points: i64,
    /// At the provider, in minor units.
    pub method: i64,
}

/// Shares a price out. A coupon never takes off more than the price, and points never pay for more than what is left.
pub fn split(price: i64, coupon: Option<(CouponCode, i64)>, points: i64) -> Tenders {
    let (coupon, offered) = coupon.unzip();
    let discount = offered.unwrap_or(0).clamp(0, price);
    let points = points.clamp(0, price - discount);
    Tenders { coupon, discount, points, method: price - discount - points }
}

// === impl Tenders ===

impl Tenders {
    /// The shares that were really paid, and so can be given back. The coupon's share never was money.
    pub const fn paid(&self) -> Shares {
        Shares { points: self.points, method: self.method }
    }
}

// === impl Shares ===

impl Shares {
    /// Both together, in minor units.
    pub const fn total(self) -> i64 {
        self.points + self.method
    }

    /// Both raised by `other`.
    pub const fn plus(self, other: Self) -> Self {
        Self { points: self.points + other.points, method: self.method + other.method }
    }

    /// What is left of both after `other`.
    pub const fn minus(self, other: Self) -> Self {
        Self { points: self.points - other.points, method: self.method - other.method }
    }

    /// How `amount` is given back out of these: tenders in reverse, so the method first and then points. `None` when
    /// it is more than there is.
    pub fn give_back(self, amount: i64) -> Option<Self> {
        let method = amount.min(self.method);
        let points = amount - method;
        (points <= self.points).then_some(Self { points, method })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn ten() -> CouponCode {
        CouponCode::new("TEN").unwrap()
    }

    #[test]
    fn coupon_comes_first_then_points_then_the_method() {
        for (price, coupon, points, expected) in [
            (5_000, None, 0, (0, 0, 5_000)),
            (5_000, Some(1_000), 500, (1_000, 500, 3_500)),
            (5_000, Some(1_000), 9_000, (1_000, 4_000, 0)),
            (800, Some(1_000), 500, (800, 0, 0)),
            (0, Some(1_000), 500, (0, 0, 0)),
        ] {
            let tenders = split(price, coupon.map(|discount| (ten(), discount)), points);
            assert_eq!((tenders.discount, tenders.points, tenders.method), expected, "{price}");
        }
    }

    #[test]
    fn money_goes_back_the_way_it_came_method_first() {
        let paid = Shares { points: 400, method: 600 };
        assert_eq!(paid.give_back(500), Some(Shares { points: 0, method: 500 }));
        assert_eq!(paid.give_back(900), Some(Shares { points: 300, method: 600 }));
        assert_eq!(paid.give_back(1_001), None);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_are_never_negative(price in 0..i64::MAX, discount in any::<i64>(), points in any::<i64>()) {
            let tenders = split(price, Some((ten(), discount)), points);
            prop_assert!(tenders.discount >= 0 && tenders.points >= 0 && tenders.method >= 0);
            prop_assert_eq!(tenders.discount + tenders.points + tenders.method, price);
        }
    }
}
