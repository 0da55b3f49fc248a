//! `order place`.

use clap::Args;
use spillway_contracts::{
    google::type_::Money,
    orchestrator::v1::{OrderOutcome, PaymentMethod, PlaceOrderRequest, PlaceOrderResponse},
    types::v1::{Address, Line},
};
use spillway_middleware::status::to_fault;
use spillway_types::{Class, Reason};
use tonic::Status;

use super::show_price;
use crate::{
    cli::values,
    client::Peer,
    commands::{Context, Key},
    output::{Failure, words::time},
};

/// Options of `order place`.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Who buys
    #[arg(long)]
    buyer: String,
    /// What, and how many of it: `--line TEE-BLACK=2 CAP=1`
    #[arg(long = "line", value_name = "SKU=QTY", num_args = 1.., required = true, value_parser = values::line)]
    lines: Vec<Line>,
    /// How it is paid: an instrument of the payment provider
    #[arg(long, value_name = "INSTRUMENT", default_value = "sandbox:approved")]
    pay: String,
    /// How many of the buyer's points to spend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    points: i64,
    /// A coupon of the buyer's to use
    #[arg(long, value_name = "CODE", default_value = "", hide_default_value = true)]
    coupon: String,
    /// Where it goes: `EU`, or a country's code such as `DE`
    #[arg(long, default_value = "EU")]
    region: String,
    /// Refuse the order when it would cost anything else
    #[arg(long, value_name = "MONEY", value_parser = values::money)]
    expect: Option<Money>,
    /// Only say what it would cost
    #[arg(long)]
    quote: bool,
    #[command(flatten)]
    key: Key,
}

// === impl Place ===

impl Place {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { buyer, lines, pay, points, coupon, region, expect, quote, key } = self;
        let request_id = key.get();
        let mut checkout = context.platform.checkout()?;
        let request = checkout.ask(PlaceOrderRequest {
            request_id: request_id.to_string(),
            buyer_id: buyer.clone(),
            lines,
            payment_method: (!pay.is_empty()).then_some(PaymentMethod { instrument: pay }),
            points,
            coupon_code: coupon,
            shipping_address: Some(Address { region, ..Address::default() }),
            expected_total: expect,
            validate_only: quote,
            retry: false,
        });
        let placed = checkout.client.place_order(request).await;
        let answer = placed.map_err(|status| {
            let what = if quote { "there is no quote" } else { "the order was not placed" };
            let lookup = format!("spillway order lookup --buyer {buyer} --request-id {request_id}");
            not_placed(&checkout, what, &status, &lookup).with("request_id", request_id)
        })?;
        context.output.answer(answer.get_ref(), |answer| show(answer, &request_id.to_string()))
    }
}

fn not_placed<C>(checkout: &Peer<C>, what: &'static str, status: &Status, lookup: &str) -> Failure {
    let reason = to_fault(status).reason;
    match reason.class() {
        // Until somebody has looked, nobody can say that it was not placed.
        Class::Unknown => checkout
            .failure("it is not known what became of the order", status)
            .with_only_next(format!("see what became of it: {lookup}")),
        Class::Terminal if reason == Reason::RequestIdReused => {
            checkout.failure(what, status).with_next(format!("see which order the key stands for: {lookup}"))
        }
        Class::Success | Class::Transient | Class::Overload | Class::Terminal => checkout.failure(what, status),
    }
}

/// What became of the order that was placed under `key`.
pub(super) fn show(answer: &PlaceOrderResponse, key: &str) -> String {
    let order = &answer.order_id;
    let (outcome, next) = match answer.outcome() {
        OrderOutcome::Quote => ("a quote; nothing was placed".to_owned(), String::new()),
        OrderOutcome::Paid => ("paid".to_owned(), format!("follow it: spillway order watch {order}")),
        OrderOutcome::Processing => {
            ("not decided yet".to_owned(), format!("see how it ends: spillway order watch {order}"))
        }
        OrderOutcome::AwaitingPayment => {
            let action = answer.payment_action.clone().unwrap_or_default();
            let next = format!("pay before {}: {}", time(action.due_time), action.pay_url);
            ("waits for payment".to_owned(), next)
        }
        OrderOutcome::Cancelled => {
            let refusal = answer.refusal.clone().unwrap_or_default();
            (format!("cancelled, {}: {}", refusal.reason, refusal.message), String::new())
        }
        OrderOutcome::Unspecified => ("of an outcome that this version does not know".to_owned(), String::new()),
    };
    let mut text = if order.is_empty() { String::new() } else { format!("order    {order}\nkey      {key}\n") };
    text.push_str(&format!("outcome  {outcome}\n"));
    if let Some(price) = &answer.price {
        text.push_str(&format!("\n{}", show_price(price, "total")));
    }
    if !next.is_empty() {
        text.push_str(&format!("\nnext     {next}"));
    }
    text
}
