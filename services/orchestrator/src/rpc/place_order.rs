//! `PlaceOrder`: the saga is started, and answered for as soon as it is decided.

use std::time::Duration;

use spillway_contracts::{
    convert,
    orchestrator::v1::{PlaceOrderRequest, PlaceOrderResponse},
};
use spillway_saga::{NewSaga, StartError, Started};
use spillway_types::{Fault, OrderId, Reason, TenantId, Violations};

use super::{Api, answer_by, convert::address, log_failed, outcome, quote, saga_id};
use crate::{domain::NewOrder, saga::place_order::PlaceOrder};

/// The longest instrument token, in bytes.
const INSTRUMENT_MAX: usize = 128;

pub(super) async fn handle(api: &Api, request: PlaceOrderRequest) -> Result<PlaceOrderResponse, Fault> {
    let order = parse(&request)?;
    if request.validate_only {
        return quote::handle(api, &order).await;
    }
    let answer_by = answer_by();
    let mut handle = start(api, order).await?.handle;
    // The saga goes on whether or not its caller can wait for it.
    let decided = tokio::time::timeout_at(answer_by, handle.answer()).await;
    let snapshot = decided.unwrap_or_else(|_| handle.snapshot());
    outcome::refusal(&snapshot).map_or_else(|| Ok(outcome::of(&snapshot)), Err)
}

async fn start(api: &Api, order: NewOrder) -> Result<Started, Fault> {
    let request_id = order.request_id;
    let fingerprint = order.fingerprint().as_str().as_bytes().to_vec();
    let partition = api.engine.any_partition().ok_or_else(elsewhere)?;
    let id = saga_id(OrderId::mint(api.clock.now(), &order.buyer_id, partition));
    let new = NewSaga::new::<PlaceOrder>(id, order.key(), fingerprint.clone(), order)
        .map_err(|error| Fault::internal().with("input", error))?;
    let started = api.engine.start(new).await.map_err(not_started)?;
    if started.fingerprint != fingerprint {
        return Err(Fault::request_id_reused(request_id));
    }
    Ok(started)
}

/// Partitions are spread anew within about this time after a replica has come or gone.
const ELSEWHERE_RETRY_AFTER: Duration = Duration::from_millis(200);

/// This replica holds no lease at this moment: it has just started, or cannot reach the database.
fn elsewhere() -> Fault {
    Fault::new(Reason::Draining, "this replica may not place orders at this moment; another one may")
        .with_retry_after(ELSEWHERE_RETRY_AFTER)
}

fn not_started(error: StartError) -> Fault {
    match error {
        StartError::Busy => Fault::new(Reason::Shed, "too many orders are under way; nothing was placed")
            .with_retry_after(Duration::from_millis(200)),
        StartError::Draining => Fault::new(Reason::Draining, "the service is shutting down; nothing was placed"),
        StartError::NotOwner => elsewhere(),
        StartError::UnknownDefinition(name, version) => {
            tracing::error!(name, version, "saga definition is not registered");
            Fault::internal()
        }
        StartError::Log(error) => log_failed(&error),
    }
}

fn parse(request: &PlaceOrderRequest) -> Result<NewOrder, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let buyer_id = convert::buyer_id("buyer_id", &request.buyer_id, &mut wrong);
    let lines = convert::lines("lines", &request.lines, &mut wrong);
    let points = convert::not_negative("points", request.points, &mut wrong);
    let coupon_code = convert::coupon_code("coupon_code", &request.coupon_code, &mut wrong);
    let address = address("shipping_address", request.shipping_address.as_ref(), &mut wrong);
    let expected_total = convert::optional_money("expected_total", request.expected_total.as_ref(), &mut wrong);
    let instrument = request.payment_method.as_ref().map(|method| method.instrument.clone()).unwrap_or_default();
    if instrument.len() > INSTRUMENT_MAX {
        wrong.add("payment_method.instrument", format!("must be at most {INSTRUMENT_MAX} bytes long"));
    }
    let parsed = (|| {
        Some(NewOrder {
            tenant: TenantId::default(),
            buyer_id: buyer_id?,
            request_id: request_id?,
            lines: lines?,
            instrument,
            points: points?,
            coupon_code: coupon_code?,
            address: address?,
            expected_total: expected_total?,
        })
    })();
    wrong.finish(parsed)
}
