//! `order lookup`.

use clap::Args;
use spillway_contracts::orchestrator::v1::LookupOrderRequest;

use super::place::show;
use crate::{commands::Context, output::Failure};

/// Options of `order lookup`.
#[derive(Debug, Args)]
pub(crate) struct Lookup {
    /// Who bought
    #[arg(long)]
    buyer: String,
    /// The key that the order was placed under
    #[arg(long, value_name = "UUID")]
    request_id: String,
}

// === impl Lookup ===

impl Lookup {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { buyer, request_id } = self;
        let mut checkout = context.platform.checkout()?;
        let request = checkout.ask(LookupOrderRequest { buyer_id: buyer, request_id: request_id.clone() });
        let found = checkout.client.lookup_order(request).await;
        let answer = checkout.answer("the order was not found", found)?;
        context.output.answer(&answer, |answer| show(&answer.answer.clone().unwrap_or_default(), &request_id))
    }
}
