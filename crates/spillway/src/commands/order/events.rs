//! `order events`.

use clap::Args;
use spillway_contracts::order::v1::{ListOrderEventsRequest, ListOrderEventsResponse};

use super::show_event;
use crate::{
    client::pages,
    commands::{Context, Limit},
    output::Failure,
};

/// Options of `order events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Which order, by its id
    #[arg(value_name = "ORDER")]
    order: String,
    #[command(flatten)]
    limit: Limit,
}

// === impl Events ===

impl Events {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { order, limit } = self;
        let mut orders = context.platform.orders()?;
        let (events, next_page_token) = pages(limit.limit, async |page_size, page_token| {
            let request = orders.ask(ListOrderEventsRequest { order_id: order.clone(), page_size, page_token });
            let listed = orders.client.list_order_events(request).await;
            let page = orders.answer("the order's events cannot be listed", listed)?;
            Ok((page.events, page.next_page_token))
        })
        .await?;
        let answer = ListOrderEventsResponse { events, next_page_token };
        context.output.answer(&answer, |answer| {
            let lines: Vec<_> = answer.events.iter().map(show_event).collect();
            limit.and_more(lines.join("\n"), &answer.next_page_token)
        })
    }
}
