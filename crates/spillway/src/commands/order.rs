//! `spillway order`: place orders and see what becomes of them.

mod cancel;
mod events;
mod get;
mod list;
mod lookup;
mod place;
mod watch;

use std::fmt::Write;

use clap::Subcommand;
use spillway_contracts::{
    order::v1::{Order, OrderEvent, OrderState},
    types::v1::PriceSnapshot,
};

use super::Context;
use crate::output::{
    Failure,
    table::Table,
    words::{money, time, word},
};

/// The commands about orders.
#[derive(Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// Place an order, or ask what it would cost
    Place(place::Place),
    /// Show an order
    Get(get::Get),
    /// Follow an order until it is final
    Watch(watch::Watch),
    /// Cancel an order that is not paid yet
    Cancel(cancel::Cancel),
    /// List orders, newest first
    List(list::List),
    /// Find what became of an order by its idempotency key, when the answer was lost
    Lookup(lookup::Lookup),
    /// List what has happened to an order
    Events(events::Events),
}

/// Does it.
pub(crate) async fn run(command: OrderCommand, context: &Context) -> Result<(), Failure> {
    match command {
        OrderCommand::Place(place) => place.run(context).await,
        OrderCommand::Get(get) => get.run(context).await,
        OrderCommand::Watch(watch) => watch.run(context).await,
        OrderCommand::Cancel(cancel) => cancel.run(context).await,
        OrderCommand::List(list) => list.run(context).await,
        OrderCommand::Lookup(lookup) => lookup.run(context).await,
        OrderCommand::Events(events) => events.run(context).await,
    }
}

/// An order in full.
fn show_order(order: &Order) -> String {
    let mut text = String::new();
    let region = order.shipping_address.as_ref().map_or("-", |address| address.region.as_str());
    let state = match order.cancel_reason.as_str() {
        "" => state(order.state()),
        reason => format!("{}: {reason}", state(order.state())),
    };
    // Writing to a String cannot fail.
    let _ok = writeln!(
        text,
        "order    {}\nstate    {state}\nbuyer    {}\nto       {region}\nplaced   {}\nchanged  {} (version {})",
        order.order_id,
        order.buyer_id,
        time(order.create_time),
        time(order.update_time),
        order.version,
    );
    if let Some(price) = &order.price {
        let _ok = write!(text, "\n{}", show_price(price, "total before coupon"));
    }
    text
}

/// A bill, with its sum called `total`: the order service's copy of a price knows nothing of coupons.
fn show_price(price: &PriceSnapshot, total: &str) -> String {
    let lines = price.lines.iter().map(|line| {
        [
            line.sku.clone(),
            line.title.clone(),
            line.quantity.to_string(),
            money(line.unit_price.as_ref()),
            money(line.line_total.as_ref()),
        ]
    });
    let sum = |name: &str, amount: String| ["", name, "", "", &amount].map(str::to_owned);
    let mut rows: Vec<_> = lines.collect();
    rows.push(sum("shipping", money(price.shipping.as_ref())));
    if price.discount.as_ref().is_some_and(|discount| discount.units != 0 || discount.nanos != 0) {
        rows.push(sum("coupon", format!("-{}", money(price.discount.as_ref()))));
    }
    rows.push(sum(total, money(price.total.as_ref())));
    Table::new(["SKU", "TITLE", ">PIECES", ">EACH", ">AMOUNT"]).rows(rows).to_string()
}

/// An event, on a line.
fn show_event(event: &OrderEvent) -> String {
    let mut text = format!("{}  v{:<2} {:<22}", time(event.occur_time), event.version, event.name);
    let moved = match event.from_state() {
        OrderState::Unspecified => state(event.to_state()),
        from => format!("{} -> {}", state(from), state(event.to_state())),
    };
    let by = word(event.actor_role().as_str_name(), "ACTOR_ROLE_");
    let _ok = write!(text, " {moved}, by {by}");
    if !event.reason.is_empty() {
        let _ok = write!(text, ": {}", event.reason);
    }
    text
}

fn state(state: OrderState) -> String {
    word(state.as_str_name(), "ORDER_STATE_")
}
