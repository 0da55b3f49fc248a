//! Order: an order stored, and cancelled. It judges nothing, so that its one recorded refusal is the tombstone's.

use async_trait::async_trait;
use spillway_contracts::{
    convert::to_money,
    order::v1::{self as pb, ActorRole, AdvanceOrderRequest, CreateOrderRequest, OrderState},
    types::v1::{Address, PriceSnapshot, PricedLine},
};
use spillway_types::{Fault, Money, OrderId, Reason};

use super::{Answer, BUYER, Books, Participant, States, Wording, opened};
use crate::shop::Shop;

#[derive(Debug)]
pub(super) struct Order;

#[async_trait]
impl Participant for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn states(&self) -> States {
        States { done: "ORDER_STATE_PENDING", undone: "ORDER_STATE_CANCELLED", past_pivot: "ORDER_STATE_PAID" }
    }

    fn refusal(&self) -> Reason {
        Reason::Cancelled
    }

    fn books(&self) -> Books {
        Books {
            file: "order.db",
            rows: "select order_id, version from orders",
            topic: "order.state_changed",
            audit: "order_event",
            unaccounted: "
                select order_id || ' is ' || state || ' in version ' || version from orders o
                 where version <> (select count(*) from order_event e where e.order_id = o.order_id)
                    or version > 0 and state is not (select to_state from order_event e
                                                      where e.order_id = o.order_id and e.version = o.version)",
            held: "select count(*) from orders where state = 'PENDING'",
        }
    }

    async fn prepare(&self, _: &Shop) {}

    async fn forward(&self, shop: &Shop, order_id: OrderId, wording: Wording) -> Result<Answer, Fault> {
        let cents = match wording {
            Wording::Usual => 1_999,
            Wording::Other => 2_999,
        };
        let money = |minor| Some(to_money(Money::new(minor, "EUR".parse().unwrap())));
        let line = PricedLine {
            sku: "TEE".to_owned(),
            title: "A shirt".to_owned(),
            quantity: 1,
            unit_price: money(cents),
            line_total: money(cents),
        };
        let price = PriceSnapshot {
            lines: vec![line],
            goods_total: money(cents),
            shipping: money(0),
            discount: money(0),
            total: money(cents),
        };
        let request = CreateOrderRequest {
            request_id: order_id.to_string(),
            order_id: order_id.to_string(),
            buyer_id: BUYER.to_owned(),
            price: Some(price),
            shipping_address: Some(Address { region: "EU".to_owned(), ..Address::default() }),
        };
        answer(opened(shop.orders.clone().create_order(request).await)?.order)
    }

    async fn compensate(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        advance(shop, order_id, OrderState::Cancelled).await
    }

    async fn past_pivot(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        self.forward(shop, order_id, Wording::Usual).await?;
        advance(shop, order_id, OrderState::Paid).await
    }

    async fn refuse(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        self.compensate(shop, order_id).await?;
        self.forward(shop, order_id, Wording::Usual).await
    }

    async fn relent(&self, shop: &Shop, other: OrderId) -> Result<Answer, Fault> {
        self.forward(shop, other, Wording::Usual).await
    }
}

async fn advance(shop: &Shop, order_id: OrderId, to_state: OrderState) -> Result<Answer, Fault> {
    let request = AdvanceOrderRequest {
        request_id: order_id.to_string(),
        order_id: order_id.to_string(),
        to_state: to_state.into(),
        reason: "turned back".to_owned(),
        actor_role: ActorRole::Saga.into(),
        buyer_id: BUYER.to_owned(),
        ..AdvanceOrderRequest::default()
    };
    answer(opened(shop.orders.clone().advance_order(request).await)?.order)
}

fn answer(order: Option<pb::Order>) -> Result<Answer, Fault> {
    let order = order.ok_or_else(Fault::internal)?;
    Ok(Answer::new(order.state().as_str_name(), &order))
}
