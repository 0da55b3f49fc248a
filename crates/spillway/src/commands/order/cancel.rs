//! `order cancel`.

use clap::Args;
use spillway_contracts::orchestrator::v1::CancelOrderRequest;

use super::state;
use crate::{
    commands::{Context, Key},
    output::Failure,
};

/// Options of `order cancel`.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Which order, by its id
    #[arg(value_name = "ORDER")]
    order: String,
    /// Cancel it only if this buyer placed it
    #[arg(long, default_value = "", hide_default_value = true)]
    buyer: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "cancelled on request")]
    reason: String,
    #[command(flatten)]
    key: Key,
}

// === impl Cancel ===

impl Cancel {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { order, buyer, reason, key } = self;
        let request_id = key.get();
        let mut checkout = context.platform.checkout()?;
        let request =
            CancelOrderRequest { request_id: request_id.to_string(), order_id: order.clone(), buyer_id: buyer, reason };
        let request = checkout.ask(request);
        let cancelled = checkout.client.cancel_order(request).await;
        let answer = checkout.done("the order was not cancelled", request_id, cancelled)?;
        context
            .output
            .answer(&answer, |answer| format!("order    {}\nstate    {}", answer.order_id, state(answer.state())))
    }
}
