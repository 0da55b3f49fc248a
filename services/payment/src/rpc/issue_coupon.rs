//! `IssueCoupon`: a coupon for a buyer.

use spillway_contracts::{
    convert::{self, from_timestamp},
    payment::v1::{IssueCouponRequest, IssueCouponResponse},
};
use spillway_types::{BuyerId, Fault, Violations};

use super::{Api, convert::more_than_zero, get_wallet};
use crate::domain::{
    Command,
    command::{IssueCoupon, Once},
};

pub(super) async fn handle(api: &Api, request: IssueCouponRequest) -> Result<IssueCouponResponse, Fault> {
    let (buyer, command) = parse(&request)?;
    api.committer.submit(command).await??;
    Ok(IssueCouponResponse { wallet: Some(get_wallet::read(api, &buyer).await?) })
}

fn parse(request: &IssueCouponRequest) -> Result<(BuyerId, Command), Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let buyer = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let code = convert::parsed("code", &request.code, &mut wrong);
    let discount = convert::money("discount", request.discount.as_ref(), &mut wrong);
    more_than_zero("discount", discount.map(|discount| discount.minor), &mut wrong);
    let minimum = convert::optional_money("minimum", request.minimum.as_ref(), &mut wrong);
    if let (Some(discount), Some(Some(minimum))) = (discount, minimum)
        && discount.currency != minimum.currency
    {
        wrong.add("minimum", format!("must be in {}, like the discount", discount.currency));
    }
    let parsed = (|| {
        let body = IssueCoupon {
            buyer: buyer?,
            code: code?,
            discount: discount?,
            minimum: minimum?.map_or(0, |minimum| minimum.minor),
            expires_at: request.expire_time.map(from_timestamp),
        };
        Some((body.buyer.clone(), Command::IssueCoupon(Once::new(request_id?, body))))
    })();
    wrong.finish(parsed)
}
