//! `CreateOrder`: a new order, with the price at which its stock was reserved.

use spillway_contracts::{
    convert::{self, MAX_LINES},
    order::v1::{CreateOrderRequest, CreateOrderResponse},
    types::v1 as pb,
};
use spillway_types::{Fault, Money, Violations};

use super::{Api, caller_tenant, convert::order, submit};
use crate::domain::{Address, Command, Create, Price, PricedLine};

/// Lines of a label. No carrier prints more.
const ADDRESS_LINES_MAX: usize = 8;

pub(super) async fn handle(api: &Api, request: CreateOrderRequest) -> Result<CreateOrderResponse, Fault> {
    let created = submit(api, parse(&request)?).await?;
    Ok(CreateOrderResponse { order: Some(order(created)) })
}

fn parse(request: &CreateOrderRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let order_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let buyer_id = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let snapshot = convert::required("price", request.price.as_ref(), &mut wrong);
    let price = snapshot.and_then(|snapshot| price(snapshot, &mut wrong));
    let address = convert::required("shipping_address", request.shipping_address.as_ref(), &mut wrong);
    let address = address.and_then(|given| self::address(given, &mut wrong));
    let parsed = (|| {
        let keys = (order_id?, request_id?);
        Some(Create::new(keys, caller_tenant(), buyer_id?, price?, address?))
    })();
    wrong.finish(parsed).map(Command::Create)
}

fn price(snapshot: &pb::PriceSnapshot, wrong: &mut Violations) -> Option<Price> {
    let lines = priced_lines(&snapshot.lines, wrong);
    let goods_total = convert::money("price.goods_total", snapshot.goods_total.as_ref(), wrong);
    let shipping = convert::optional_money("price.shipping", snapshot.shipping.as_ref(), wrong);
    let discount = convert::optional_money("price.discount", snapshot.discount.as_ref(), wrong);
    let total = convert::money("price.total", snapshot.total.as_ref(), wrong)?;
    let nothing = Money::zero(total.currency);
    let (shipping, discount) = (shipping?.unwrap_or(nothing), discount?.unwrap_or(nothing));
    let price = Price { lines: lines?, goods_total: goods_total?, shipping, discount, total };
    price.check("price", wrong);
    Some(price)
}

fn priced_lines(lines: &[pb::PricedLine], wrong: &mut Violations) -> Option<Vec<PricedLine>> {
    if lines.is_empty() {
        return convert::required("price.lines", None, wrong);
    }
    if lines.len() > MAX_LINES {
        wrong.add("price.lines", format!("must be at most {MAX_LINES} lines, has {}", lines.len()));
        return None;
    }
    let priced: Vec<_> = lines.iter().enumerate().filter_map(|(index, line)| priced_line(index, line, wrong)).collect();
    (priced.len() == lines.len()).then_some(priced)
}

fn priced_line(index: usize, line: &pb::PricedLine, wrong: &mut Violations) -> Option<PricedLine> {
    let field = |name| format!("price.lines[{index}].{name}");
    let sku = convert::sku(&field("sku"), &line.sku, wrong);
    let title = convert::text(&field("title"), &line.title, wrong);
    let quantity = convert::quantity(&field("quantity"), line.quantity, wrong);
    let unit_price = convert::money(&field("unit_price"), line.unit_price.as_ref(), wrong);
    let line_total = convert::money(&field("line_total"), line.line_total.as_ref(), wrong);
    Some(PricedLine { sku: sku?, title: title?, quantity: quantity?, unit_price: unit_price?, line_total: line_total? })
}

fn address(given: &pb::Address, wrong: &mut Violations) -> Option<Address> {
    let recipient = convert::text("shipping_address.recipient", &given.recipient, wrong);
    let region = convert::required_text("shipping_address.region", &given.region, wrong);
    let postal_code = convert::text("shipping_address.postal_code", &given.postal_code, wrong);
    let city = convert::text("shipping_address.city", &given.city, wrong);
    if given.lines.len() > ADDRESS_LINES_MAX {
        wrong.add("shipping_address.lines", format!("must be at most {ADDRESS_LINES_MAX}, has {}", given.lines.len()));
        return None;
    }
    let texts = given.lines.iter().enumerate();
    let lines: Vec<_> = texts
        .filter_map(|(index, line)| convert::text(&format!("shipping_address.lines[{index}]"), line, wrong))
        .collect();
    if lines.len() < given.lines.len() {
        return None;
    }
    Some(Address { recipient: recipient?, region: region?, lines, postal_code: postal_code?, city: city? })
}
