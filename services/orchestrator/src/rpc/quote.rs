//! `PlaceOrder` with `validate_only`: what it would cost at this moment. Nothing is placed, nothing is held.

use futures_util::future::try_join_all;
use spillway_contracts::{
    convert::{from_money, from_timestamp},
    orchestrator::v1::{OrderOutcome, PlaceOrderResponse},
    payment::v1::{Coupon, CouponState},
};
use spillway_types::{CouponCode, Fault, Money, Reason, Sku};

use super::{Api, convert::to_price};
use crate::domain::{NewOrder, PriceSnapshot, PricedLine};

pub(super) async fn handle(api: &Api, order: &NewOrder) -> Result<PlaceOrderResponse, Fault> {
    let lines = try_join_all(order.lines.iter().map(|(sku, quantity)| line(api, sku, *quantity))).await?;
    let price = PriceSnapshot::of(lines).map_err(|error| Fault::new(Reason::InvalidRequest, error.to_string()))?;
    let price = price.ok_or_else(Fault::internal)?;
    let amount = price.amount().map_err(|error| Fault::new(Reason::InvalidRequest, error.to_string()))?;
    let discount = match &order.coupon_code {
        Some(code) => Some(discount(api, order, code, amount).await?),
        None => None,
    };
    Ok(PlaceOrderResponse {
        order_id: String::new(),
        outcome: OrderOutcome::Quote.into(),
        price: Some(to_price(&price, discount)),
        refusal: None,
        payment_action: None,
    })
}

async fn line(api: &Api, sku: &Sku, quantity: u32) -> Result<PricedLine, Fault> {
    let item = api.catalogue.item(sku).await?;
    if item.available < i64::from(quantity) {
        let short = format!("{quantity} wanted, {} left", item.available);
        return Err(Fault::new(Reason::OutOfStock, format!("not enough left of {sku}: {short}"))
            .with_precondition("STOCK", sku, short)
            .with("recorded", false));
    }
    let unit_price = item.price.as_ref().and_then(|price| from_money(price).ok()).ok_or_else(Fault::internal)?;
    Ok(PricedLine { sku: sku.clone(), title: item.title, quantity, unit_price })
}

async fn discount(api: &Api, order: &NewOrder, code: &CouponCode, amount: Money) -> Result<Money, Fault> {
    let wallet = api.catalogue.wallet(&order.buyer_id).await?;
    let coupon = wallet.coupons.iter().find(|coupon| coupon.code == code.as_str());
    let usable = coupon.filter(|coupon| is_usable(api, coupon, amount));
    let discount = usable.and_then(|coupon| from_money(coupon.discount.as_ref()?).ok());
    let discount = discount.filter(|discount| discount.currency == amount.currency).ok_or_else(|| {
        Fault::new(Reason::CouponUnavailable, format!("coupon {code} cannot be used for this order"))
            .with("recorded", false)
    })?;
    Ok(Money::new(discount.minor.min(amount.minor), amount.currency))
}

fn is_usable(api: &Api, coupon: &Coupon, amount: Money) -> bool {
    let minimum = coupon.minimum.as_ref().and_then(|minimum| from_money(minimum).ok());
    coupon.state() == CouponState::Available
        && minimum.is_none_or(|minimum| minimum.currency == amount.currency && minimum.minor <= amount.minor)
        && coupon.expire_time.is_none_or(|at| api.clock.now() < from_timestamp(at))
}
