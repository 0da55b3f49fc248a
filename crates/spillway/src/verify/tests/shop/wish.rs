//! What buyers of the small shop want.

use spillway_orchestrator::domain::{NewOrder, order::Address};
use spillway_types::{BuyerId, RequestId, TenantId};

/// What somebody wants, and how it is paid.
pub(super) struct Wish {
    pub(super) buyer: &'static str,
    pub(super) lines: &'static [(&'static str, u32)],
    pub(super) points: i64,
    pub(super) coupon: Option<&'static str>,
    pub(super) instrument: &'static str,
}

pub(super) fn buyer(name: &str) -> BuyerId {
    BuyerId::new(name).unwrap()
}

impl Wish {
    pub(super) fn of(buyer: &'static str, lines: &'static [(&'static str, u32)]) -> Self {
        Self { buyer, lines, points: 0, coupon: None, instrument: "sandbox:approved" }
    }

    pub(super) fn order(&self) -> NewOrder {
        NewOrder {
            tenant: TenantId::default(),
            buyer_id: buyer(self.buyer),
            request_id: RequestId::random(),
            lines: self.lines.iter().map(|(sku, quantity)| (sku.parse().unwrap(), *quantity)).collect(),
            instrument: self.instrument.to_owned(),
            points: self.points,
            coupon_code: self.coupon.map(|code| code.parse().unwrap()),
            address: Address {
                recipient: self.buyer.to_owned(),
                region: "DE".to_owned(),
                lines: vec!["Marktplatz 1".to_owned()],
                postal_code: "20095".to_owned(),
                city: "Hamburg".to_owned(),
            },
            expected_total: None,
        }
    }
}
