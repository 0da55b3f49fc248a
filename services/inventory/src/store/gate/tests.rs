//! The gate suite: what every keeper of counters promises, asked of each, and what the gate makes of it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, AtomicUsize},
};

use async_trait::async_trait;
use spillway_storage::{StoreError, config::RedisConfig, redis::Redis};
use spillway_testkit::servers;
use spillway_types::{BuyerId, Fingerprint};

use super::{memory::MemoryCounters, redis::RedisCounters, *};
use crate::{
    domain::{
        Hold, Item, Reservation,
        admission::{Moment, Setting, Stock},
    },
    store::Reader,
};

/// How long a test waits for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Settings of a test live longer than the test.
const LONG: Duration = Duration::from_secs(60);

pub(super) const CONFIG: GateConfig = GateConfig { interval_ms: 10_000, budget_ms: 50, skus_max: 64 };

/// Keepers of counters, by name.
async fn keepers() -> [(&'static str, Arc<dyn Counters>); 2] {
    let redis = connected(&servers::redis().await).await;
    [("in this process", Arc::new(MemoryCounters::new())), ("in Redis", Arc::new(RedisCounters::new(redis)))]
}

pub(super) async fn connected(url: &str) -> Redis {
    let config =
        RedisConfig { url: url.to_owned(), password_file: Default::default(), connections: 2, timeout_ms: 500 };
    let redis = Redis::new(&config).unwrap();
    timeout(PATIENCE, redis.up()).await.unwrap();
    redis
}

/// SKUs that no other test has.
pub(super) fn fresh_sku() -> Sku {
    Sku::new(format!("T-{:016x}", rand::random::<u64>())).unwrap()
}

pub(super) fn order(n: u128) -> OrderId {
    OrderId::new(uuid::Uuid::from_u128(n))
}

pub(super) fn stock(sku: &Sku, available: i64, version: i64) -> [Stock; 1] {
    [Stock { sku: sku.clone(), available, version }]
}

/// A setting from now on.
pub(super) async fn setting(counters: &dyn Counters, generation: u64, lives: Duration) -> Setting {
    let lives = u64::try_from(lives.as_micros()).unwrap();
    let Moment(now) = counters.moment().await.unwrap();
    Setting { generation: Generation(generation), until: Moment(now + lives) }
}

pub(super) fn reserve(n: u128, lines: &[(&Sku, u32)]) -> Reserve {
    let buyer_id = BuyerId::new("ada").unwrap();
    let lines: Vec<_> = lines.iter().map(|(sku, quantity)| ((*sku).clone(), *quantity)).collect();
    Reserve { order_id: order(n), buyer_id, fingerprint: Fingerprint::of(&lines), lines, hold: Hold::Pinned }
}

/// A ledger of which only the stock is to be seen.
#[derive(Default)]
pub(super) struct Books {
    stocks: Mutex<BTreeMap<Sku, (i64, i64)>>,
    looks: AtomicUsize,
}

impl Books {
    /// What there is from now on; the item's version goes up.
    pub(super) fn put(&self, sku: &Sku, available: i64) {
        let mut stocks = self.stocks.lock().unwrap();
        let version = stocks.get(sku).map_or(1, |(_, version)| version + 1);
        stocks.insert(sku.clone(), (available, version));
    }
}

#[async_trait]
impl Reader for Books {
    async fn item(&self, _: &Sku) -> Result<Option<Item>, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn items(&self, _: Option<&Sku>, _: u32) -> Result<Vec<Item>, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn reservation(&self, _: OrderId) -> Result<Option<Reservation>, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn stocks(&self, skus: &[Sku]) -> Result<Vec<Stock>, StoreError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let stocks = self.stocks.lock().unwrap();
        let known = skus.iter().filter_map(|sku| Some((sku.clone(), *stocks.get(sku)?)));
        Ok(known.map(|(sku, (available, version))| Stock { sku, available, version }).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn no_more_are_admitted_than_there_are_and_an_order_is_counted_once() {
    for (name, counters) in keepers().await {
        println!("{name}");
        let hot = fresh_sku();
        assert_eq!(counters.admit(&hot, order(1), 1).await, Ok(Verdict::Open), "there is no counter yet");
        let first = setting(&*counters, 1, LONG).await;
        counters.set(&stock(&hot, 50, 1), first).await.unwrap();
        let crowd = (1..=400).map(|n| counters.admit(&hot, order(n % 200), 1));
        let verdicts = join_all(crowd).await;
        // Each order came twice: who was admitted once stays so, who was too late stays out.
        let admitted = |n: &usize| verdicts[*n] == Ok(Verdict::Admitted(Generation(1)));
        assert_eq!((0..400).filter(admitted).count(), 100);
        assert!((0..200).all(|n| verdicts[n] == verdicts[n + 200]), "{verdicts:?}");
        assert_eq!(counters.admit(&hot, order(900), 2).await, Ok(Verdict::Short(0)));
        assert_eq!(counters.left(&hot).await, Ok(Some(0)));
    }
}

#[tokio::test]
async fn what_was_counted_comes_back_once_and_only_to_its_own_generation() {
    for (name, counters) in keepers().await {
        println!("{name}");
        let hot = fresh_sku();
        counters.set(&stock(&hot, 3, 1), setting(&*counters, 1, LONG).await).await.unwrap();
        counters.admit(&hot, order(1), 2).await.unwrap();
        counters.admit(&hot, order(2), 1).await.unwrap();
        for _ in 0..2 {
            counters.give_back(&hot, order(1), Generation(1)).await.unwrap();
        }
        counters.give_back(&hot, order(3), Generation(1)).await.unwrap();
        assert_eq!(counters.left(&hot).await, Ok(Some(2)), "order 1 had two, and order 3 nothing");

        counters.set(&stock(&hot, 7, 2), setting(&*counters, 2, LONG).await).await.unwrap();
        counters.give_back(&hot, order(2), Generation(1)).await.unwrap();
        assert_eq!(counters.left(&hot).await, Ok(Some(7)), "the ledger has counted that one by now");
        counters.admit(&hot, order(2), 1).await.unwrap();
        counters.give_back(&hot, order(2), Generation(1)).await.unwrap();
        assert_eq!(counters.left(&hot).await, Ok(Some(6)), "nor is a late one taken for the present one");

        let nothing = fresh_sku();
        counters.give_back(&nothing, order(1), Generation(1)).await.unwrap();
        assert_eq!(counters.left(&nothing).await, Ok(None), "only setting makes a counter");
    }
}

#[tokio::test]
async fn a_late_setting_changes_nothing_and_a_counter_lapses() {
    for (name, counters) in keepers().await {
        println!("{name}");
        let hot = fresh_sku();
        let late = setting(&*counters, 1, Duration::from_millis(40)).await;
        let present = setting(&*counters, 2, LONG).await;
        counters.set(&stock(&hot, 5, 8), present).await.unwrap();
        counters.set(&stock(&hot, 9, 7), Setting { generation: Generation(3), ..present }).await.unwrap();
        assert_eq!(counters.left(&hot).await, Ok(Some(5)), "an older look at the item");
        counters.set(&stock(&hot, 5, 8), late).await.unwrap();
        assert_eq!(counters.admit(&hot, order(1), 5).await, Ok(Verdict::Admitted(Generation(1))), "the same look");
        assert_eq!(counters.admit(&hot, order(2), 1).await, Ok(Verdict::Short(0)));
        let lapsed = async {
            while counters.admit(&hot, order(2), 1).await.unwrap() != Verdict::Open {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, lapsed).await.expect("a counter that is not set again lapses");
        counters.set(&stock(&hot, 9, 9), late).await.unwrap();
        assert_eq!(counters.left(&hot).await, Ok(None), "what was seen then is too old by now");
    }
}

#[tokio::test]
async fn all_lines_pass_or_none_is_counted() {
    for (name, counters) in keepers().await {
        println!("{name}");
        let (books, [hot, cold, odd]) = (Books::default(), [fresh_sku(), fresh_sku(), fresh_sku()]);
        books.put(&hot, 10);
        books.put(&cold, 1);
        let gate = Gate::new(Arc::clone(&counters), CONFIG);
        let first = gate.enter(&reserve(1, &[(&hot, 9), (&cold, 9)])).await;
        assert!(first.is_ok(), "nobody has looked yet: the gate has no opinion");
        gate.reconcile(&books).await.unwrap();

        let refused = gate.enter(&reserve(2, &[(&hot, 3), (&cold, 2)])).await.unwrap_err();
        assert_eq!((refused.reason, refused.metadata["recorded"].as_str()), (Reason::OutOfStock, "false"));
        let short: Vec<_> =
            refused.preconditions.iter().map(|p| (p.subject.as_str(), p.description.as_str())).collect();
        assert_eq!(short, [(cold.as_str(), "2 wanted, 1 left")], "only what is short is named");
        assert_eq!(gate.admissible(&hot).await, Ok(Some(10)), "what the other line took came back");

        let pass = gate.enter(&reserve(3, &[(&hot, 3), (&cold, 1), (&odd, 1)])).await.unwrap();
        assert_eq!(gate.admissible(&hot).await, Ok(Some(7)));
        let unknown: Result<(), _> = Err(Fault::internal());
        gate.leave(order(3), pass, &unknown).await;
        assert_eq!(gate.admissible(&hot).await, Ok(Some(7)), "who knows whether the ledger has them");
        let pass = gate.enter(&reserve(4, &[(&hot, 2)])).await.unwrap();
        let refused: Result<(), _> = Err(Fault::tombstone());
        gate.leave(order(4), pass, &refused).await;
        assert_eq!(gate.admissible(&hot).await, Ok(Some(7)), "the ledger has not");
        assert_eq!(gate.totals(), Totals { asked: 4, refused: 1, failed_open: 0 });
    }
}

#[tokio::test]
async fn copies_of_a_call_hear_one_verdict_whatever_happens_to_stock_between_them() {
    for (name, counters) in keepers().await {
        println!("{name}");
        let (books, hot) = (Books::default(), fresh_sku());
        let gate = Gate::new(Arc::clone(&counters), CONFIG);
        books.put(&hot, 0);
        assert!(gate.enter(&reserve(1, &[(&hot, 1)])).await.is_ok(), "nobody has looked yet");
        gate.reconcile(&books).await.unwrap();
        assert!(gate.enter(&reserve(1, &[(&hot, 1)])).await.is_ok(), "the ledger may hold something for it by now");
        let refused = gate.enter(&reserve(2, &[(&hot, 1)])).await.unwrap_err();
        books.put(&hot, 1);
        gate.reconcile(&books).await.unwrap();
        assert_eq!(gate.enter(&reserve(2, &[(&hot, 1)])).await.unwrap_err(), refused, "its caller has heard that");
        assert_eq!(gate.admissible(&hot).await, Ok(Some(1)), "neither copy was counted");

        let last = reserve(3, &[(&hot, 1)]);
        let copies = join_all((0..32).map(|_| gate.enter(&last))).await;
        assert!(copies.iter().all(Result::is_ok), "{copies:?}");
        assert_eq!(gate.admissible(&hot).await, Ok(Some(0)), "they were counted once");
    }
}

#[tokio::test]
async fn the_gate_follows_the_ledger_and_forgets_what_the_ledger_does_not_know() {
    for (name, counters) in keepers().await {
        println!("{name}");
        let (books, [hot, odd]) = (Books::default(), [fresh_sku(), fresh_sku()]);
        let gate = Gate::new(Arc::clone(&counters), CONFIG);
        gate.enter(&reserve(1, &[(&hot, 1), (&odd, 1)])).await.unwrap();
        for available in [0, 3, 1] {
            books.put(&hot, available);
            gate.reconcile(&books).await.unwrap();
            let skus = [hot.clone(), odd.clone()];
            assert_eq!(differences(&*counters, &books, &skus).await.unwrap(), []);
            assert_eq!(gate.admissible(&hot).await, Ok(Some(available)));
        }
        assert_eq!(gate.admissible(&odd).await, Ok(None));
        assert_eq!(gate.recent().current(Instant::now()), std::slice::from_ref(&hot), "invented names do not stay");
        books.put(&hot, 5);
        let expected = Difference { sku: hot.clone(), gate: 1, ledger: Some(5) };
        assert_eq!(differences(&*counters, &books, &[hot]).await.unwrap(), [expected], "differences can be seen");
    }
}

#[tokio::test]
async fn a_gate_without_counters_asks_nobody() {
    let gate = Gate::new(Arc::new(Deaf::default()), GateConfig { skus_max: 0, ..CONFIG });
    assert!(gate.enter(&reserve(1, &[(&fresh_sku(), 1)])).await.is_ok());
    assert_eq!(gate.totals(), Totals::default());
}

/// Counters that never answer, or only the reconciler.
#[derive(Debug, Default)]
struct Deaf {
    asked: AtomicU64,
    hears_the_reconciler: AtomicBool,
}

#[async_trait]
impl Counters for Deaf {
    async fn admit(&self, _: &Sku, _: OrderId, _: u32) -> Result<Verdict, Unavailable> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }

    async fn give_back(&self, _: &Sku, _: OrderId, _: Generation) -> Result<(), Unavailable> {
        std::future::pending().await
    }

    async fn moment(&self) -> Result<Moment, Unavailable> {
        if self.hears_the_reconciler.load(Ordering::Relaxed) { Ok(Moment(1)) } else { std::future::pending().await }
    }

    async fn set(&self, _: &[Stock], _: Setting) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn left(&self, _: &Sku) -> Result<Option<i64>, Unavailable> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn counters_that_do_not_answer_cost_the_budget_a_few_times_and_then_nothing() {
    let (deaf, books, hot) = (Arc::new(Deaf::default()), Books::default(), fresh_sku());
    books.put(&hot, 0);
    let gate = Gate::new(Arc::clone(&deaf) as Arc<dyn Counters>, CONFIG);
    let began = Instant::now();
    for n in 0..100 {
        assert!(gate.enter(&reserve(n, &[(&hot, 1)])).await.is_ok(), "it fails open");
    }
    assert_eq!(began.elapsed(), gate.budget() * MISSES_MAX);
    assert_eq!(deaf.asked.load(Ordering::Relaxed), u64::from(MISSES_MAX));
    assert!(gate.check().is_err(), "and says so");
    assert_eq!(gate.totals(), Totals { asked: 100, refused: 0, failed_open: 100 });

    gate.reconcile(&books).await.unwrap_err();
    assert!(gate.check().is_err());
    deaf.hears_the_reconciler.store(true, Ordering::Relaxed);
    gate.reconcile(&books).await.unwrap();
    assert_eq!(gate.check(), Ok(()));
    gate.enter(&reserve(200, &[(&hot, 1)])).await.unwrap();
    assert_eq!(deaf.asked.load(Ordering::Relaxed), u64::from(MISSES_MAX) + 1, "it is asked again");
}

#[tokio::test(start_paused = true)]
async fn the_reconciler_looks_twice_an_interval_and_at_once_when_there_is_a_reason() {
    let (books, hot) = (Arc::new(Books::default()), fresh_sku());
    books.put(&hot, 0);
    let gate = Arc::new(Gate::new(Arc::new(MemoryCounters::new()), CONFIG));
    let stop = tokio_util::sync::CancellationToken::new();
    let reader = Arc::clone(&books) as Arc<dyn Reader>;
    let worker = tokio::spawn(crate::worker::reconcile(Arc::clone(&gate), reader, stop.clone()));
    let looks = || books.looks.load(Ordering::Relaxed);
    tokio::time::sleep(LONG).await;
    assert_eq!(looks(), 0, "nobody asks for anything");

    gate.enter(&reserve(1, &[(&hot, 1)])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(looks(), 1, "somebody asks for something new");
    assert!(gate.enter(&reserve(2, &[(&hot, 1)])).await.is_err());
    for second in 0..30 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let refused = gate.enter(&reserve(100 + second, &[(&hot, 1)])).await;
        assert!(refused.is_err(), "second {second}: the counter must not lapse while all is well");
    }
    assert_eq!(looks(), 6, "twice an interval");
    books.put(&hot, 1);
    gate.stock_may_have_risen();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(gate.admissible(&hot).await, Ok(Some(1)));
    stop.cancel();
    worker.await.unwrap();
}
