//! Payment: points held and money authorised, and let go of.

use async_trait::async_trait;
use spillway_contracts::{
    convert::to_money,
    payment::v1::{self as pb, AuthorizeRequest, CaptureRequest, GrantPointsRequest, VoidRequest},
};
use spillway_types::{Fault, Money, OrderId, Reason, RequestId};

use super::{Answer, BUYER, Books, Participant, States, Wording, opened};
use crate::shop::Shop;

/// Whoever has no points at first.
const POOR: &str = "bob";
/// Points that every order holds.
const POINTS: i64 = 100;

/// Payment, by one way of paying.
#[derive(Debug)]
pub(super) struct Payment {
    name: &'static str,
    /// Price of an order, in minor units; what points do not pay is the provider's part.
    price: i64,
    instrument: &'static str,
}

// === impl Payment ===

impl Payment {
    /// Points and a card whose provider answers late: commands meet each other in AUTHORIZING and VOIDING.
    pub(super) const BY_SLOW_CARD: Self =
        Self { name: "payment by points and a slow card", price: 5_000, instrument: "sandbox:slow" };
    /// Points alone: decided without a provider.
    pub(super) const BY_POINTS: Self = Self { name: "payment by points", price: POINTS, instrument: "" };

    async fn authorize(&self, shop: &Shop, order_id: OrderId, buyer: &str, more: i64) -> Result<Answer, Fault> {
        let request = AuthorizeRequest {
            request_id: order_id.to_string(),
            order_id: order_id.to_string(),
            buyer_id: buyer.to_owned(),
            amount: Some(to_money(Money::new(self.price + more, "EUR".parse().unwrap()))),
            points: POINTS + more,
            instrument: self.instrument.to_owned(),
            ..AuthorizeRequest::default()
        };
        answer(opened(shop.payments.clone().authorize(request).await)?.payment)
    }
}

#[async_trait]
impl Participant for Payment {
    fn name(&self) -> &'static str {
        self.name
    }

    fn states(&self) -> States {
        States {
            done: "PAYMENT_STATE_AUTHORIZED",
            undone: "PAYMENT_STATE_VOIDED",
            past_pivot: "PAYMENT_STATE_CAPTURED",
        }
    }

    fn refusal(&self) -> Reason {
        Reason::InsufficientPoints
    }

    fn books(&self) -> Books {
        Books {
            file: "payment.db",
            rows: "select payment_id, version from payment",
            topic: "payment.payment",
            audit: "wallet_entry",
            // Events tell of every version; the journal of points has the two ends of what was held.
            unaccounted: "
                select payment_id || ' is ' || state || ' in version ' || version from payment p
                 where points > 0 and version > 0
                   and (select group_concat(word, '+') from (
                            select distinct substr(transfer_id, 1, instr(transfer_id, ':') - 1) as word
                              from wallet_entry where transfer_id like '%:' || p.payment_id order by 1)
                       ) is not case when state in ('AUTHORIZING', 'AUTHORIZED', 'CAPTURING') then 'hold'
                                     when state = 'CAPTURED' then 'hold+spend'
                                     else 'hold+release' end",
            held: "select coalesce(sum(held), 0) / 100 from wallet",
        }
    }

    async fn prepare(&self, shop: &Shop) {
        grant(shop, BUYER, 1_000_000).await.unwrap();
    }

    async fn forward(&self, shop: &Shop, order_id: OrderId, wording: Wording) -> Result<Answer, Fault> {
        let more = match wording {
            Wording::Usual => 0,
            Wording::Other => 1,
        };
        self.authorize(shop, order_id, BUYER, more).await
    }

    async fn compensate(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        let request = VoidRequest {
            request_id: order_id.to_string(),
            payment_id: order_id.to_string(),
            reason: "turned back".to_owned(),
            only_if_unpaid: false,
        };
        answer(opened(shop.payments.clone().void(request).await)?.payment)
    }

    async fn past_pivot(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        self.forward(shop, order_id, Wording::Usual).await?;
        let request = CaptureRequest { request_id: order_id.to_string(), payment_id: order_id.to_string() };
        answer(opened(shop.payments.clone().capture(request).await)?.payment)
    }

    async fn refuse(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        self.authorize(shop, order_id, POOR, 0).await
    }

    async fn relent(&self, shop: &Shop, other: OrderId) -> Result<Answer, Fault> {
        grant(shop, POOR, 1_000_000).await?;
        self.refuse(shop, other).await
    }
}

async fn grant(shop: &Shop, buyer: &str, points: i64) -> Result<(), Fault> {
    let request = GrantPointsRequest {
        request_id: RequestId::random().to_string(),
        buyer_id: buyer.to_owned(),
        points,
        reason: "welcome".to_owned(),
    };
    opened(shop.wallets.clone().grant_points(request).await).map(drop)
}

fn answer(payment: Option<pb::Payment>) -> Result<Answer, Fault> {
    let payment = payment.ok_or_else(Fault::internal)?;
    Ok(Answer::new(payment.state().as_str_name(), &payment))
}
