//! What a buyer does who wants to know, and what must be true of an order that has ended.

use std::{path::Path, time::Duration};

use spillway::verify;
use spillway_contracts::orchestrator::v1::{
    CancelOrderRequest, GetSagaRequest, OrderOutcome, PlaceOrderRequest, SagaState,
};
use spillway_middleware::status::to_fault;
use spillway_tests::shop::{Shop, order};
use spillway_types::{Class, Fault, Reason, RequestId};
use tokio::time::{sleep, timeout};

/// The longest that an order may take to end, whatever goes wrong with it.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
/// The pause before something is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Paid(String),
    Refused(Fault),
}

/// How an order ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) answer: Answer,
    pub(crate) complaints: Vec<String>,
}

/// An order for one piece.
pub(crate) fn request(buyer: &str, sku: &str) -> PlaceOrderRequest {
    order(buyer, sku, 1, "sandbox:approved")
}

/// Places an order and asks until the answer is definite.
pub(crate) async fn decide(shop: &Shop, mut request: PlaceOrderRequest) -> Answer {
    let mut checkout = shop.checkout.clone();
    loop {
        match checkout.place_order(request.clone()).await.map(tonic::Response::into_inner) {
            Ok(answer) if answer.outcome() == OrderOutcome::Paid => return Answer::Paid(answer.order_id),
            Ok(_) => {}
            Err(status) => {
                let fault = to_fault(&status);
                if fault.reason.class() == Class::Terminal {
                    return Answer::Refused(fault);
                }
            }
        }
        request.retry = true;
        sleep(PAUSE).await;
    }
}

/// Cancels an order and asks until the answer is definite: cancelled, or not cancellable.
pub(crate) async fn cancel(shop: &Shop, order_id: &str) -> Result<(), Fault> {
    let mut checkout = shop.checkout.clone();
    let request = CancelOrderRequest {
        request_id: RequestId::random().to_string(),
        order_id: order_id.to_owned(),
        ..CancelOrderRequest::default()
    };
    loop {
        match checkout.cancel_order(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(status) => {
                let fault = to_fault(&status);
                if fault.reason.class() == Class::Terminal {
                    return Err(fault);
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// How a saga ended; `None` while it has not.
pub(crate) async fn end_of(shop: &Shop, order_id: &str) -> Option<SagaState> {
    let request = GetSagaRequest { saga_id: order_id.to_owned() };
    let found = shop.sagas.clone().get_saga(request).await.ok()?.into_inner();
    let state = found.saga?.state();
    matches!(state, SagaState::Completed | SagaState::Refused | SagaState::Compensated).then_some(state)
}

/// Places an order and follows it to its end: the saga ends as the answer says, and the answer stays.
pub(crate) async fn follow(shop: &Shop, request: PlaceOrderRequest) -> Result<Ended, String> {
    let mut complaints = Vec::new();
    let answer = timeout(LIMIT, decide(shop, request.clone())).await.map_err(|_| "no definite answer".to_owned())?;
    let order_id = match &answer {
        Answer::Paid(order_id) => order_id.clone(),
        Answer::Refused(fault) => fault.metadata.get("order_id").cloned().ok_or_else(|| format!("{fault:?}"))?,
    };
    let end = async {
        loop {
            if let Some(end) = end_of(shop, &order_id).await {
                return end;
            }
            sleep(PAUSE).await;
        }
    };
    let end = timeout(LIMIT, end).await.map_err(|_| format!("{order_id} does not end after {answer:?}"))?;
    if (end == SagaState::Completed) != matches!(answer, Answer::Paid(_)) {
        complaints.push(format!("{answer:?}, but the saga is {end:?}"));
    }
    let again = timeout(LIMIT, decide(shop, request)).await;
    if again.as_ref() != Ok(&answer) {
        complaints.push(format!("{answer:?}, then {again:?}"));
    }
    Ok(Ended { answer, complaints })
}

/// What is wrong with the shelf when `sold` of `stock` pieces were sold and no order is open.
pub(crate) async fn shelf(shop: &Shop, sku: &str, stock: i64, sold: usize) -> Option<String> {
    let item = shop.clone().item(sku).await;
    let sold = i64::try_from(sold).unwrap();
    let stands = (item.available, item.held, item.sold_unshipped);
    (stands != (stock - sold, 0, sold)).then(|| format!("{sku}: {sold} of {stock} sold, but it has {stands:?}"))
}

/// The invariants hold over the whole data directory.
pub(crate) async fn judge(data: &Path) {
    let report = verify::run(data).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

// === impl Answer ===

impl Answer {
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self, Self::Paid(_))
    }

    /// Why not, if not.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Paid(_) => None,
            Self::Refused(fault) => Some(fault.reason),
        }
    }
}
