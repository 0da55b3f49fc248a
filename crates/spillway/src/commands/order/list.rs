//! `order list`.

use clap::Args;
use spillway_contracts::order::v1::{ListOrdersRequest, ListOrdersResponse, Order, OrderState};

use super::state;
use crate::{
    cli::values,
    client::pages,
    commands::{Context, Limit},
    output::{
        Failure,
        table::Table,
        words::{money, time},
    },
};

/// Options of `order list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this buyer's
    #[arg(long, default_value = "", hide_default_value = true)]
    buyer: String,
    /// Only those in this state, such as `paid`; may be given more than once
    #[arg(long = "state", value_name = "STATE", value_parser = values::order_state)]
    states: Vec<OrderState>,
    #[command(flatten)]
    limit: Limit,
}

// === impl List ===

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { buyer, states, limit } = self;
        let states: Vec<i32> = states.into_iter().map(i32::from).collect();
        let mut peer = context.platform.orders()?;
        let (orders, next_page_token) = pages(limit.limit, async |page_size, page_token| {
            let (buyer_id, states) = (buyer.clone(), states.clone());
            let request = peer.ask(ListOrdersRequest { buyer_id, states, page_size, page_token });
            let listed = peer.client.list_orders(request).await;
            let page = peer.answer("the orders cannot be listed", listed)?;
            Ok((page.orders, page.next_page_token))
        })
        .await?;
        let answer = ListOrdersResponse { orders, next_page_token };
        context.output.answer(&answer, |answer| {
            let rows = answer.orders.iter().map(row);
            let table = Table::new(["ORDER", "STATE", "BUYER", ">TOTAL", "PLACED", "REASON"]).rows(rows);
            limit.and_more(table.or("No orders."), &answer.next_page_token)
        })
    }
}

fn row(order: &Order) -> [String; 6] {
    [
        order.order_id.clone(),
        state(order.state()),
        order.buyer_id.clone(),
        money(order.price.as_ref().and_then(|price| price.total.as_ref())),
        time(order.create_time),
        order.cancel_reason.clone(),
    ]
}
