//! `GrantPoints`: points for a buyer.

use spillway_contracts::{
    convert,
    payment::v1::{GrantPointsRequest, GrantPointsResponse},
};
use spillway_types::{BuyerId, Fault, Violations};

use super::{Api, convert::more_than_zero, get_wallet};
use crate::domain::{
    Command,
    command::{GrantPoints, Once},
};

pub(super) async fn handle(api: &Api, request: GrantPointsRequest) -> Result<GrantPointsResponse, Fault> {
    let (buyer, command) = parse(&request)?;
    api.committer.submit(command).await??;
    Ok(GrantPointsResponse { wallet: Some(get_wallet::read(api, &buyer).await?) })
}

fn parse(request: &GrantPointsRequest) -> Result<(BuyerId, Command), Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let buyer = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let points = more_than_zero("points", Some(request.points), &mut wrong);
    let reason = convert::required_text("reason", &request.reason, &mut wrong);
    let parsed = (|| {
        let body = GrantPoints { buyer: buyer?, points: points?, reason: reason? };
        Some((body.buyer.clone(), Command::GrantPoints(Once::new(request_id?, body))))
    })();
    wrong.finish(parsed)
}
