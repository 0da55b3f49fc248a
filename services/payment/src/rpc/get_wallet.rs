//! `GetWallet`: a buyer's points and coupons.

use spillway_contracts::{
    convert,
    payment::v1::{GetWalletRequest, GetWalletResponse, Wallet},
};
use spillway_types::{BuyerId, Fault, Violations};

use super::{Api, convert::wallet};

pub(super) async fn handle(api: &Api, request: GetWalletRequest) -> Result<GetWalletResponse, Fault> {
    let mut wrong = Violations::default();
    let buyer = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let buyer = wrong.finish(buyer)?;
    Ok(GetWalletResponse { wallet: Some(read(api, &buyer).await?) })
}

/// The wallet as it stands: also the answer to whatever changed it.
pub(super) async fn read(api: &Api, buyer: &BuyerId) -> Result<Wallet, Fault> {
    let (found, coupons) = api.reader.wallet(buyer).await?;
    Ok(wallet(found, coupons, api.clock.now()))
}
