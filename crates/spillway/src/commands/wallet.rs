//! `spillway wallet`: see and fill buyers' wallets.

use clap::{Args, Subcommand};
use spillway_contracts::{
    google::type_::Money,
    payment::v1::{GetWalletRequest, GrantPointsRequest, IssueCouponRequest, Wallet},
};

use super::{Context, Key};
use crate::{
    cli::values,
    output::{
        Failure,
        table::Table,
        words::{money, time, word},
    },
};

/// The commands about wallets.
#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Show what a buyer has
    Get {
        /// Whose
        buyer: String,
    },
    /// Give a buyer points; one is worth one minor unit of an order's currency
    Grant(Grant),
    /// Give a buyer a coupon
    Coupon(Coupon),
}

/// Options of `wallet grant`.
#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// To whom
    buyer: String,
    /// How many
    #[arg(long, value_name = "N")]
    points: i64,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "granted by hand")]
    reason: String,
    #[command(flatten)]
    key: Key,
}

/// Options of `wallet coupon`.
#[derive(Debug, Args)]
pub(crate) struct Coupon {
    /// To whom
    buyer: String,
    /// What the buyer types
    #[arg(long)]
    code: String,
    /// How much it takes off
    #[arg(long, value_name = "MONEY", value_parser = values::money)]
    discount: Money,
    /// The least price it is good for
    #[arg(long, value_name = "MONEY", value_parser = values::money)]
    minimum: Option<Money>,
    #[command(flatten)]
    key: Key,
}

/// Does it.
pub(crate) async fn run(command: WalletCommand, context: &Context) -> Result<(), Failure> {
    match command {
        WalletCommand::Get { buyer } => get(buyer, context).await,
        WalletCommand::Grant(grant) => grant.run(context).await,
        WalletCommand::Coupon(coupon) => coupon.run(context).await,
    }
}

async fn get(buyer_id: String, context: &Context) -> Result<(), Failure> {
    let mut wallets = context.platform.wallets()?;
    let request = wallets.ask(GetWalletRequest { buyer_id });
    let got = wallets.client.get_wallet(request).await;
    let answer = wallets.answer("the wallet cannot be shown", got)?;
    context.output.answer(&answer, |answer| show(answer.wallet.as_ref()))
}

fn show(wallet: Option<&Wallet>) -> String {
    let Some(wallet) = wallet else { return String::new() };
    let coupons = wallet.coupons.iter().map(|coupon| {
        [
            coupon.code.clone(),
            money(coupon.discount.as_ref()),
            money(coupon.minimum.as_ref()),
            word(coupon.state().as_str_name(), "COUPON_STATE_"),
            time(coupon.expire_time),
        ]
    });
    let coupons = Table::new(["COUPON", ">TAKES OFF", ">FROM", "STATE", "EXPIRES"]).rows(coupons);
    format!(
        "buyer    {}\npoints   {} ({} more are held)\n\n{}",
        wallet.buyer_id,
        wallet.points,
        wallet.points_held,
        coupons.or("No coupons.")
    )
}

// === impl Grant ===

impl Grant {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { buyer, points, reason, key } = self;
        let request_id = key.get();
        let mut wallets = context.platform.wallets()?;
        let request = GrantPointsRequest { request_id: request_id.to_string(), buyer_id: buyer, points, reason };
        let request = wallets.ask(request);
        let granted = wallets.client.grant_points(request).await;
        let answer = wallets.done("the points were not granted", request_id, granted)?;
        context.output.answer(&answer, |answer| show(answer.wallet.as_ref()))
    }
}

// === impl Coupon ===

impl Coupon {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { buyer, code, discount, minimum, key } = self;
        let request_id = key.get();
        let mut wallets = context.platform.wallets()?;
        let request = IssueCouponRequest {
            request_id: request_id.to_string(),
            buyer_id: buyer,
            code,
            discount: Some(discount),
            minimum,
            expire_time: None,
        };
        let request = wallets.ask(request);
        let issued = wallets.client.issue_coupon(request).await;
        let answer = wallets.done("the coupon was not issued", request_id, issued)?;
        context.output.answer(&answer, |answer| show(answer.wallet.as_ref()))
    }
}
