//! The crowd: every buyer wants one of the hot item, and behaves as a good client does: one key an order, repeated when
//! the answer was lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use spillway_contracts::{
    orchestrator::v1::{
        LookupOrderRequest, OrderOutcome, PaymentMethod, PlaceOrderRequest,
        checkout_service_client::CheckoutServiceClient,
    },
    types::v1::{Address, Line},
};
use spillway_middleware::{Client, status::to_fault};
use spillway_types::{Class, Reason, RequestId};
use tokio::time::Instant;

use super::DemoError;

/// How often a buyer asks again when the outcome is not known, and how long it waits in between.
const ASKS_MAX: u32 = 50;
const ASK_PAUSE: Duration = Duration::from_millis(200);

/// What became of the crowd.
#[derive(Clone, Debug)]
pub(crate) struct Sale {
    /// Orders that were paid.
    pub(crate) sold: u32,
    /// Orders that were refused, by reason.
    pub(crate) refused: BTreeMap<&'static str, u32>,
    /// Orders of which nobody can say what became, by reason: none, if all is well.
    pub(crate) failed: BTreeMap<&'static str, u32>,
    /// How long the whole took.
    pub(crate) took: Duration,
    /// How long a buyer waited for the answer, in microseconds; of paid orders, and of all.
    pub(crate) paid: Histogram<u64>,
    pub(crate) all: Histogram<u64>,
}

enum Fate {
    Sold,
    Refused(Reason),
    Failed(Reason),
}

/// Lets `buyers` buyers go for the item `hot`, `concurrency` at a time.
pub(crate) async fn buy(checkout: &[Client], hot: &str, buyers: u32, concurrency: u32) -> Result<Sale, DemoError> {
    let bar = ProgressBar::new(buyers.into()).with_style(
        ProgressStyle::with_template("  {bar:32} {pos:>6}/{len} buyers  {per_sec:>10}  {msg}")?.progress_chars("=> "),
    );
    let next = Arc::new(AtomicU32::new(0));
    let sale = Arc::new(Mutex::new(Sale {
        sold: 0,
        refused: BTreeMap::new(),
        failed: BTreeMap::new(),
        took: Duration::ZERO,
        paid: super::histogram(),
        all: super::histogram(),
    }));
    let begun = Instant::now();
    let crowd: Vec<_> = (0..concurrency.max(1))
        .zip(checkout.iter().cycle().cloned())
        .map(|(_, channel)| {
            let (next, sale, bar, hot) = (Arc::clone(&next), Arc::clone(&sale), bar.clone(), hot.to_owned());
            tokio::spawn(async move {
                let mut client = CheckoutServiceClient::new(channel);
                loop {
                    let buyer = next.fetch_add(1, Ordering::Relaxed);
                    if buyer >= buyers {
                        return;
                    }
                    let asked = Instant::now();
                    let fate = place(&mut client, order(&hot, buyer)).await;
                    let mut sale = sale.lock().unwrap_or_else(PoisonError::into_inner);
                    sale.note(&fate, asked.elapsed());
                    bar.inc(1);
                    bar.set_message(format!("{} sold", sale.sold));
                }
            })
        })
        .collect();
    for buyers in crowd {
        buyers.await?;
    }
    bar.finish();
    let mut sale = sale.lock().unwrap_or_else(PoisonError::into_inner).clone();
    sale.took = begun.elapsed();
    Ok(sale)
}

async fn place(client: &mut CheckoutServiceClient<Client>, mut request: PlaceOrderRequest) -> Fate {
    for _ in 0..ASKS_MAX {
        match client.place_order(request.clone()).await {
            Ok(answer) => match answer.into_inner().outcome() {
                OrderOutcome::Paid => return Fate::Sold,
                _ => return decided(client, &request).await,
            },
            Err(status) => {
                let fault = to_fault(&status);
                if fault.reason.class() == Class::Terminal {
                    return Fate::Refused(fault.reason);
                }
                // Transient, overload or unknown: the same key is safe to send again.
                request.retry = true;
                tokio::time::sleep(fault.retry_after.unwrap_or(ASK_PAUSE)).await;
            }
        }
    }
    Fate::Failed(Reason::OutcomeUnknown)
}

/// Follows an order that was still under way when its answer came.
async fn decided(client: &mut CheckoutServiceClient<Client>, request: &PlaceOrderRequest) -> Fate {
    let lookup = LookupOrderRequest { buyer_id: request.buyer_id.clone(), request_id: request.request_id.clone() };
    for _ in 0..ASKS_MAX {
        tokio::time::sleep(ASK_PAUSE).await;
        let Ok(found) = client.lookup_order(lookup.clone()).await else { continue };
        let answer = found.into_inner().answer.unwrap_or_default();
        match answer.outcome() {
            OrderOutcome::Paid => return Fate::Sold,
            OrderOutcome::Cancelled => {
                let reason = answer.refusal.and_then(|refusal| refusal.reason.parse().ok());
                return Fate::Refused(reason.unwrap_or(Reason::Cancelled));
            }
            _ => {}
        }
    }
    Fate::Failed(Reason::DeadlineExceeded)
}

/// One in fifty has a card that is declined: the unit goes back, and the next buyer gets it.
pub(crate) const fn pays(buyer: u32) -> bool {
    buyer % 50 != 7
}

fn order(hot: &str, buyer: u32) -> PlaceOrderRequest {
    let instrument = if pays(buyer) { "sandbox:approved" } else { "sandbox:declined" };
    PlaceOrderRequest {
        request_id: RequestId::random().to_string(),
        buyer_id: format!("buyer-{buyer}"),
        lines: vec![Line { sku: hot.to_owned(), quantity: 1 }],
        payment_method: Some(PaymentMethod { instrument: instrument.to_owned() }),
        shipping_address: Some(Address { region: "EU".to_owned(), ..Address::default() }),
        ..PlaceOrderRequest::default()
    }
}

// === impl Sale ===

impl Sale {
    fn note(&mut self, fate: &Fate, waited: Duration) {
        super::note(&mut self.all, waited);
        match fate {
            Fate::Sold => {
                self.sold += 1;
                super::note(&mut self.paid, waited);
            }
            Fate::Refused(reason) => *self.refused.entry(reason.as_str()).or_default() += 1,
            Fate::Failed(reason) => *self.failed.entry(reason.as_str()).or_default() += 1,
        }
    }
}
