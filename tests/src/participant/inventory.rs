//! Inventory: stock held, and given back.

use async_trait::async_trait;
use spillway_contracts::{
    inventory::v1::{
        AdjustStockRequest, ConfirmReservationRequest, ReleaseReservationRequest, Reservation, ReserveRequest,
    },
    types::v1::Line,
};
use spillway_types::{Fault, OrderId, Reason, RequestId};

use super::{Answer, BUYER, Books, Participant, States, Wording, opened};
use crate::shop::Shop;

const PLENTY: &str = "PLENTY";
const SOLD_OUT: &str = "SOLD-OUT";

#[derive(Debug)]
pub(super) struct Inventory;

#[async_trait]
impl Participant for Inventory {
    fn name(&self) -> &'static str {
        "inventory"
    }

    fn states(&self) -> States {
        States {
            done: "RESERVATION_STATE_PINNED",
            undone: "RESERVATION_STATE_RELEASED",
            past_pivot: "RESERVATION_STATE_CONFIRMED",
        }
    }

    fn refusal(&self) -> Reason {
        Reason::OutOfStock
    }

    fn books(&self) -> Books {
        Books {
            file: "inventory.db",
            rows: "select order_id, version from reservation",
            topic: "inventory.reservation",
            audit: "movement",
            unaccounted: "
                select order_id || ' is ' || state || ' in version ' || version from reservation r
                 where version <> (select count(distinct kind) from movement m where m.order_id = r.order_id)
                union all
                select sku || ' has ' || held || ' held' from item i
                 where held <> (select coalesce(sum(quantity), 0)
                                  from reservation_line join reservation using (order_id)
                                 where sku = i.sku and state in ('HELD', 'PINNED'))",
            held: "select coalesce(sum(held), 0) from item",
        }
    }

    async fn prepare(&self, shop: &Shop) {
        let mut shop = shop.clone();
        shop.stock(PLENTY, 1_999, 10_000).await;
        shop.stock(SOLD_OUT, 1_999, 0).await;
    }

    async fn forward(&self, shop: &Shop, order_id: OrderId, wording: Wording) -> Result<Answer, Fault> {
        let quantity = match wording {
            Wording::Usual => 1,
            Wording::Other => 2,
        };
        reserve(shop, order_id, PLENTY, quantity).await
    }

    async fn compensate(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        let request = ReleaseReservationRequest {
            request_id: order_id.to_string(),
            reservation_id: order_id.to_string(),
            reason: "turned back".to_owned(),
        };
        answer(opened(shop.inventory.clone().release_reservation(request).await)?.reservation)
    }

    async fn past_pivot(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        self.forward(shop, order_id, Wording::Usual).await?;
        let (request_id, reservation_id) = (order_id.to_string(), order_id.to_string());
        let request = ConfirmReservationRequest { request_id, reservation_id, lines: Vec::new() };
        answer(opened(shop.inventory.clone().confirm_reservation(request).await)?.reservation)
    }

    async fn refuse(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        reserve(shop, order_id, SOLD_OUT, 1).await
    }

    async fn relent(&self, shop: &Shop, other: OrderId) -> Result<Answer, Fault> {
        let request = AdjustStockRequest {
            request_id: RequestId::random().to_string(),
            sku: SOLD_OUT.to_owned(),
            delta: 100,
            reason: "a delivery".to_owned(),
        };
        opened(shop.inventory.clone().adjust_stock(request).await)?;
        self.refuse(shop, other).await
    }
}

async fn reserve(shop: &Shop, order_id: OrderId, sku: &str, quantity: u32) -> Result<Answer, Fault> {
    let request = ReserveRequest {
        request_id: order_id.to_string(),
        order_id: order_id.to_string(),
        buyer_id: BUYER.to_owned(),
        lines: vec![Line { sku: sku.to_owned(), quantity }],
        pinned: true,
        // The promises are the ledger's; a gate's "no" to a first attempt is none of them.
        retry: true,
        ..ReserveRequest::default()
    };
    answer(opened(shop.inventory.clone().reserve(request).await)?.reservation)
}

fn answer(reservation: Option<Reservation>) -> Result<Answer, Fault> {
    let reservation = reservation.ok_or_else(Fault::internal)?;
    Ok(Answer::new(reservation.state().as_str_name(), &reservation))
}
