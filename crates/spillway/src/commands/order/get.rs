//! `order get`.

use clap::Args;
use spillway_contracts::order::v1::GetOrderRequest;

use super::show_order;
use crate::{commands::Context, output::Failure};

/// Said of an answer that did not come from the database.
const STALE: &str = "The database does not answer: so the order stood some moment of the last 30 seconds. Ask again.";

/// Options of `order get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Which order, by its id
    #[arg(value_name = "ORDER")]
    order: String,
}

// === impl Get ===

impl Get {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut orders = context.platform.orders()?;
        let request = orders.ask(GetOrderRequest { order_id: self.order });
        let got = orders.client.get_order(request).await;
        let answer = orders.answer("the order cannot be shown", got)?;
        context.output.answer(&answer, |answer| {
            let order = show_order(&answer.order.clone().unwrap_or_default());
            if answer.stale { format!("{STALE}\n{order}") } else { order }
        })
    }
}
