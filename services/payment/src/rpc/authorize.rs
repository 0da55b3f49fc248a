//! `Authorize`: coupon and points held, the rest authorised at the provider.

use spillway_contracts::{
    convert,
    payment::v1::{AuthorizeRequest, AuthorizeResponse},
};
use spillway_types::{Fault, Violations};

use super::{Api, convert::payment};
use crate::{
    clients::Provider,
    domain::{Command, command::Authorize},
};

pub(super) async fn handle(api: &Api, request: AuthorizeRequest) -> Result<AuthorizeResponse, Fault> {
    let command = parse(&request, api.settler.provider())?;
    let authorized = api.settler.carry_out(command).await?;
    Ok(AuthorizeResponse { payment: Some(payment(authorized)) })
}

fn parse(request: &AuthorizeRequest, provider: &dyn Provider) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    // The order is the key of the effect; the request's own key is what its caller's log names.
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let payment_id = convert::order_id("order_id", &request.order_id, &mut wrong);
    let buyer = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let amount = convert::money("amount", request.amount.as_ref(), &mut wrong);
    let coupon = convert::coupon_code("coupon_code", &request.coupon_code, &mut wrong);
    let points = convert::not_negative("points", request.points, &mut wrong);
    let instrument = convert::text("instrument", &request.instrument, &mut wrong);
    let expected_total = convert::optional_money("expected_total", request.expected_total.as_ref(), &mut wrong);
    let parsed = (|| {
        request_id?;
        let instrument = instrument?;
        // An instrument that the provider does not know is refused for good, like one that it declines: the order is
        // under way, and has to hear the same answer whenever it asks.
        let problem = Some(&instrument).filter(|name| !name.is_empty()).and_then(|name| provider.check(name).err());
        Some(Authorize {
            payment_id: payment_id?,
            buyer: buyer?,
            amount: amount?,
            coupon: coupon?,
            points: points?,
            instrument,
            expected_total: expected_total?,
            instrument_problem: problem,
        })
    })();
    wrong.finish(parsed).map(Command::authorize)
}
