//! The real binary, killed again and again in the middle of a sale. Judged by a journal that the buyers keep themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it did"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway::{platform::Addresses, verify};
use spillway_contracts::{
    orchestrator::v1::{ListSagasRequest, OrderOutcome, PlaceOrderRequest, SagaState},
    order::v1::{GetOrderRequest, OrderState},
};
use spillway_middleware::status::to_fault;
use spillway_testkit::{
    ports,
    process::{self, Process},
};
use spillway_tests::shop::{Shop, order, settings, until};
use spillway_types::{Class, Reason};

/// Units on the shelf.
const STOCK: i64 = 1_000;
/// Buyers in the shop at a time.
const CROWD: usize = 24;
/// How often the process is killed.
const KILLS: u32 = 8;
/// How long after a restart sagas may be under way (invariant I7).
const REST: Duration = Duration::from_secs(30);

/// What a buyer heard, by what it asked: kept outside of the platform.
#[derive(Default)]
struct Journal {
    heard: Mutex<BTreeMap<String, (PlaceOrderRequest, Heard)>>,
    answers: AtomicUsize,
    buyers: AtomicU32,
}

#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Paid(String),
    Refused(Reason),
}

struct Server {
    binary: PathBuf,
    args: Vec<String>,
}

impl Server {
    fn new(data: &Path, addresses: Addresses) -> Self {
        let Addresses { orchestrator, order, inventory, payment, fulfilment } = addresses;
        let mut args = vec!["dev".to_owned(), "--data-dir".to_owned(), data.display().to_string()];
        let services = [
            ("orchestrator", orchestrator),
            ("order", order),
            ("inventory", inventory),
            ("payment", payment),
            ("fulfilment", fulfilment),
        ];
        args.extend(services.iter().flat_map(|(name, at)| ["--set".to_owned(), format!("{name}.listen={at}")]));
        args.extend(["--set".to_owned(), "telemetry.log=warn".to_owned()]);
        Self { binary: process::build("spillway").unwrap(), args }
    }

    async fn start(&self) -> Process {
        Process::start(&self.binary, &self.args, "spillway is up").await.unwrap()
    }
}

/// One buyer after the other, until there is nothing left: each sticks to its key until it has a definite answer.
async fn buy(mut shop: Shop, journal: Arc<Journal>) {
    loop {
        let buyer = journal.buyers.fetch_add(1, Ordering::Relaxed);
        let card = if buyer % 20 == 3 { "sandbox:declined" } else { "sandbox:approved" };
        let mut request = order(&format!("buyer-{buyer}"), "HOT", 1, card);
        let heard = loop {
            match shop.checkout.place_order(request.clone()).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    if answer.outcome() == OrderOutcome::Paid {
                        break Heard::Paid(answer.order_id);
                    }
                }
                Err(status) => {
                    let fault = to_fault(&status);
                    if fault.reason.class() == Class::Terminal {
                        break Heard::Refused(fault.reason);
                    }
                }
            }
            request.retry = true;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let sold_out = heard == Heard::Refused(Reason::OutOfStock);
        journal.heard.lock().unwrap().insert(request.request_id.clone(), (request, heard));
        journal.answers.fetch_add(1, Ordering::Relaxed);
        if sold_out && nothing_left(&mut shop).await {
            return;
        }
    }
}

/// Whether every unit is sold for good: one that is only held may come back, and wants a buyer then.
async fn nothing_left(shop: &mut Shop) -> bool {
    let find = spillway_contracts::inventory::v1::GetItemRequest { sku: "HOT".to_owned() };
    match shop.inventory.get_item(find).await {
        Ok(found) => found.into_inner().item.is_some_and(|item| item.sold_unshipped == STOCK),
        Err(_) => false,
    }
}

async fn at_rest(mut shop: Shop) -> Option<()> {
    let states = [SagaState::Running, SagaState::Compensating, SagaState::Waiting, SagaState::Parked];
    let unfinished = ListSagasRequest { states: states.map(i32::from).to_vec(), ..ListSagasRequest::default() };
    let sagas = shop.sagas.list_sagas(unfinished).await.ok()?.into_inner().sagas;
    sagas.is_empty().then_some(())
}

/// What the platform acknowledged is still so.
async fn check_journal(shop: &mut Shop, journal: &Journal) -> (usize, usize) {
    let heard = journal.heard.lock().unwrap().clone();
    let (mut paid, mut refused) = (0, 0);
    for (request, heard) in heard.values() {
        match heard {
            Heard::Paid(order_id) => {
                let find = GetOrderRequest { order_id: order_id.clone() };
                let order = shop.orders.get_order(find).await.unwrap().into_inner().order.unwrap();
                let state = order.state();
                assert!(matches!(state, OrderState::Paid | OrderState::Fulfilling), "{order_id} is {state:?}");
                paid += 1;
            }
            Heard::Refused(reason) => {
                let again = to_fault(&shop.checkout.place_order(request.clone()).await.unwrap_err());
                assert_eq!(again.reason, *reason, "the refusal of {} is repeated", request.request_id);
                refused += 1;
            }
        }
    }
    (paid, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_killed_again_and_again_loses_nothing_and_sells_exactly_its_stock() {
    let data = tempfile::tempdir().unwrap();
    let [orchestrator, order, inventory, payment, fulfilment] =
        ports::free::<5>().unwrap().map(|port| ([127, 0, 0, 1], port).into());
    let addresses = Addresses { orchestrator, order, inventory, payment, fulfilment };
    let server = Server::new(data.path(), addresses);
    let mut running = server.start().await;
    let mut shop = Shop::at(addresses, &settings(data.path(), &[]).client);
    shop.stock("HOT", 12_900, STOCK).await;

    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let journal = Arc::new(Journal::default());
    let crowd: Vec<_> = (0..CROWD).map(|_| tokio::spawn(buy(shop.clone(), Arc::clone(&journal)))).collect();
    for kill in 1..=KILLS {
        // Some orders go through between two kills; the kill comes in the middle of others.
        let enough = journal.answers.load(Ordering::Relaxed) + rng.random_range(10..120);
        until("the sale goes on", Duration::from_secs(60), || {
            let answers = journal.answers.load(Ordering::Relaxed);
            std::future::ready((answers >= enough || crowd.iter().all(|buyer| buyer.is_finished())).then_some(()))
        })
        .await;
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..5_000))).await;
        running.kill().await.unwrap();
        println!("kill {kill} after {} answers", journal.answers.load(Ordering::Relaxed));
        running = server.start().await;
    }
    for buyers in crowd {
        buyers.await.unwrap();
    }
    until("every saga has ended", REST, || at_rest(shop.clone())).await;
    let (paid, refused) = check_journal(&mut shop, &journal).await;
    println!("{paid} paid, {refused} refused");
    let item = shop.item("HOT").await;
    assert_eq!((item.available, item.held, item.sold_unshipped), (0, 0, STOCK), "sold exactly to zero");
    assert_eq!(i64::try_from(paid).unwrap(), STOCK, "each sold unit has a buyer who was told so");

    let ended = running.terminate(Duration::from_secs(30)).await.unwrap();
    assert!(ended.success(), "SIGTERM ends it in good order: {ended}");
    let report = verify::run(data.path()).await.unwrap();
    assert!(report.is_clean(), "{report}");
}
