//! Many things go wrong at once, by chance, while more is wanted than there is. The seed is printed.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway_tests::{
    faults::{Call, Mishap, On, Script, Span},
    shop::{Shop, open, until},
};
use spillway_types::Reason;

use crate::{
    buyer::{Answer, LIMIT, cancel, follow, judge, request, shelf},
    steps::{self, CAPTURE_DECLINED, pay_with},
};

const ORDERS: usize = 150;
const AT_ONCE: usize = 40;
/// Fewer than would be paid for.
const STOCK: i64 = 60;
const SKU: &str = "HOT";

const SETTINGS: [(&str, &str); 6] = [
    ("orchestrator.step.attempt_timeout_ms", "500"),
    ("orchestrator.step.backoff_ms", "5"),
    ("orchestrator.step.backoff_max_ms", "50"),
    ("orchestrator.step.patience_ms", "1500"),
    ("orchestrator.saga.scan_interval_ms", "100"),
    ("orchestrator.saga.parked_retry_ms", "1000"),
];

fn mishap(rng: &mut StdRng) -> Mishap {
    let span = Span::Times(rng.random_range(1..12));
    match rng.random_range(0..8) {
        0 => Mishap::Lost(span),
        1 => Mishap::Unheard(span),
        2 => Mishap::Shed(span),
        3 => Mishap::Hangs,
        4 => Mishap::Twice,
        5 => Mishap::AtOnce,
        6 => Mishap::Denied,
        _ => Mishap::Down(Duration::from_millis(rng.random_range(1..2_000))),
    }
}

/// One buyer, with whom some things go wrong, and who may change his mind.
async fn buy(n: usize, seed: u64, calls: &[Call], shop: &Shop, script: &Script) -> Result<Answer, String> {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(u64::try_from(n).unwrap()));
    let buyer = format!("buyer-{n}");
    for _ in 0..rng.random_range(0..5) {
        script.plan(&buyer, On::Call(calls[rng.random_range(0..calls.len())]), mishap(&mut rng));
    }
    let mut order = request(&buyer, SKU);
    match rng.random_range(0..6) {
        0 => pay_with(&mut order, CAPTURE_DECLINED),
        1 => pay_with(&mut order, "sandbox:declined"),
        _ => {}
    }
    let change_of_mind = async {
        if rng.random_range(0..4) > 0 {
            return None;
        }
        let order_id = until("the order has a number", LIMIT, || async { script.order_id(&buyer) }).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..40))).await;
        Some(cancel(shop, &order_id).await)
    };
    let (ended, cancelled) = tokio::join!(follow(shop, order), change_of_mind);
    let ended = ended.map_err(|complaint| format!("{buyer}: {complaint}"))?;
    let is_paid = ended.answer.is_paid();
    match cancelled {
        _ if !ended.complaints.is_empty() => Err(format!("{buyer}: {}", ended.complaints.join("; "))),
        Some(Ok(())) if is_paid => Err(format!("{buyer}: cancelled, and paid")),
        Some(Err(fault)) if !is_paid => Err(format!("{buyer}: {fault:?}, and {:?}", ended.answer)),
        _ => Ok(ended.answer),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_of_mishaps_every_order_ends_and_nothing_is_lost_or_sold_twice() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let data = tempfile::tempdir().unwrap();
    let script = Script::new();
    let (platform, mut shop) = open(data.path(), &SETTINGS, script.around()).await;
    shop.stock(SKU, 12_900, STOCK).await;
    let steps = steps::all();
    let calls: Arc<[Call]> =
        steps.iter().flat_map(|step| [Some(step.calls.forward), step.calls.compensation]).flatten().collect();
    let run = |n| {
        let (shop, script, calls) = (shop.clone(), Arc::clone(&script), Arc::clone(&calls));
        async move { buy(n, seed, &calls, &shop, &script).await }
    };
    let ended: Vec<_> = stream::iter(0..ORDERS).map(run).buffer_unordered(AT_ONCE).collect().await;
    let complaints: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().err().cloned()).collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    let paid = ended.iter().flatten().filter(|answer| answer.is_paid()).count();
    let sold_out = ended.iter().flatten().filter(|answer| answer.reason() == Some(Reason::OutOfStock)).count();
    println!("{paid} paid, {sold_out} found nothing left");
    assert_eq!(shelf(&shop, SKU, STOCK, paid).await, None);
    judge(data.path()).await;
    platform.stop().await.unwrap();
}
