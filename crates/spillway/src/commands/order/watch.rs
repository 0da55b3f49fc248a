//! `order watch`: the stream of an order's events, taken up again where it broke off.

use std::time::Duration;

use clap::Args;
use spillway_contracts::order::v1::{
    OrderState, WatchOrderRequest, WatchOrderResponse, order_service_client::OrderServiceClient,
};
use spillway_middleware::{Client, status::to_fault};
use spillway_types::{Class, Fault, Reason};
use tokio::time::Instant;
use tonic::{Request, Status};

use super::{show_event, state};
use crate::{client::Peer, commands::Context, output::Failure};

/// How long to try to get a stream back before giving up: a restart takes seconds, so a minute of nothing is an outage,
/// and whoever waits should hear of it.
const RESUME_FOR: Duration = Duration::from_secs(60);
/// Pause between two tries when the platform does not say how long.
const RESUME_PAUSE: Duration = Duration::from_millis(500);

/// Options of `order watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Which order, by its id
    #[arg(value_name = "ORDER")]
    order: String,
    /// Leave out events up to this version
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    after: i64,
}

/// How far it got.
struct Progress {
    after: i64,
    state: OrderState,
    /// Since when nothing was heard.
    silent_since: Instant,
}

// === impl Watch ===

impl Watch {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { order, after } = self;
        let mut orders = context.platform.orders()?;
        let give_up = context.platform.timeout().map(|timeout| Instant::now() + timeout);
        let mut progress = Progress { after, state: OrderState::Unspecified, silent_since: Instant::now() };
        loop {
            let Err(status) = follow(&mut orders, &order, &mut progress, give_up, context).await? else {
                context.output.remark(&ended(&order, progress.state));
                return Ok(());
            };
            let fault = to_fault(&status);
            let late = give_up.is_some_and(|at| Instant::now() >= at);
            let gone = progress.silent_since.elapsed() > RESUME_FOR;
            // A platform that was never heard is more likely not there than about to come back.
            let unheard = progress.state == OrderState::Unspecified && fault.reason.class() == Class::Transient;
            let go_on = format!("go on from here: spillway order watch {order} --after {}", progress.after);
            if late {
                let fault = Fault::new(Reason::DeadlineExceeded, "it is not final yet, and the --timeout is over");
                return Err(Failure::call("the order was not followed to its end", fault).with_only_next(go_on));
            }
            if fault.reason.class() == Class::Terminal || gone || unheard {
                let failure = orders.failure("the order cannot be followed", &status);
                return Err(if progress.after == 0 { failure } else { failure.with_next(go_on) });
            }
            context
                .output
                .remark(&format!("The stream broke ({}); taking it up after v{}.", fault.reason, progress.after));
            tokio::time::sleep(fault.retry_after.unwrap_or(RESUME_PAUSE)).await;
        }
    }
}

/// Prints events until the stream ends: in good order when the order is final, else with why it broke.
async fn follow(
    orders: &mut Peer<OrderServiceClient<Client>>,
    order: &str,
    progress: &mut Progress,
    give_up: Option<Instant>,
    context: &Context,
) -> Result<Result<(), Status>, Failure> {
    let mut request = Request::new(WatchOrderRequest { order_id: order.to_owned(), after_version: progress.after });
    if let Some(at) = give_up {
        request.set_timeout(at.saturating_duration_since(Instant::now()));
    }
    let mut stream = match orders.client.watch_order(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return Ok(Err(status)),
    };
    loop {
        let heard = match stream.message().await {
            Ok(Some(heard)) => heard,
            Ok(None) => return Ok(Ok(())),
            Err(status) => return Ok(Err(status)),
        };
        let event = heard.event.clone().unwrap_or_default();
        *progress = Progress { after: event.version, state: event.to_state(), silent_since: Instant::now() };
        context.output.answer_line(&heard, |_: &WatchOrderResponse| show_event(&event))?;
    }
}

fn ended(order: &str, last: OrderState) -> String {
    match last {
        OrderState::Unspecified => format!("Nothing more will happen to the order: spillway order get {order}"),
        last => format!("The order is {}; nothing more will happen to it.", state(last)),
    }
}
