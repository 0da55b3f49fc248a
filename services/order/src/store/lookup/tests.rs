use std::sync::atomic::AtomicU32;

use async_trait::async_trait;
use spillway_testkit::servers;

use super::*;
use crate::{
    domain::{
        Command, Entry, Move, Role, State,
        tests::{advance, create, fresh_id},
    },
    store::{
        Listing, cache,
        tests::house::{Backend, House, Shop},
    },
};

/// A store that can be told not to answer.
#[derive(Debug)]
struct Moody {
    inner: Arc<dyn Reader>,
    mood: Mutex<Mood>,
    asked: AtomicU32,
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    Failing,
    Hanging,
}

#[async_trait]
impl Reader for Moody {
    async fn order(&self, order_id: OrderId) -> Result<Option<Order>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Well => self.inner.order(order_id).await,
            Mood::Failing => Err(StoreError::Database { doing: "being moody", source: sqlx::Error::PoolTimedOut }),
            Mood::Hanging => std::future::pending().await,
        }
    }

    async fn orders(&self, listing: &Listing) -> Result<Vec<Order>, StoreError> {
        self.inner.orders(listing).await
    }

    async fn entries(&self, order_id: OrderId, after: i64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.inner.entries(order_id, after, limit).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
}

impl Moody {
    fn become_(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> u32 {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

async fn shop_and_lookup(house: &House) -> (Shop, Arc<Moody>, Lookup) {
    let shop = house.open().await;
    let inner = Arc::clone(&shop.reader);
    let moody = Arc::new(Moody { inner, mood: Mutex::new(Mood::Well), asked: AtomicU32::new(0) });
    let (cache, _, _) = cache::open(house.redis().clone());
    let lookup = Lookup::new(Arc::<Moody>::clone(&moody), Some(cache));
    (shop, moody, lookup)
}

async fn until_cached(house: &House, order_id: OrderId, version: i64) {
    let (cache, _, _) = cache::open(house.redis().clone());
    let begun = Instant::now();
    while cache.get(order_id).await.unwrap().is_none_or(|order| order.version < version) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{order_id} is not cached");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_cache_is_asked_only_while_the_store_does_not_answer_and_says_so() {
    let house = House::new(Backend::Sqlite).await.with_redis(&servers::redis().await).await;
    let (shop, moody, lookup) = shop_and_lookup(&house).await;
    let (open, ended) = (fresh_id(), fresh_id());
    for id in [open, ended] {
        shop.ask(Command::Create(create(id, 1))).await.unwrap();
    }
    shop.ask(Command::Advance(advance(ended, Move::Cancel, Role::Saga))).await.unwrap();
    until_cached(&house, open, 1).await;
    until_cached(&house, ended, 2).await;

    // The cache holds version 1 for ever, as one would that lost a write.
    let known = lookup.order(open).await.unwrap().unwrap();
    assert_eq!((known.order.version, known.stale), (1, false));
    for mood in [Mood::Failing, Mood::Hanging] {
        moody.become_(mood);
        let known = lookup.order(open).await.unwrap().unwrap();
        assert_eq!((known.order.version, known.stale), (1, true), "{mood:?}");
    }
    assert_eq!(lookup.stale_answers(), 2);
    let known = lookup.order(ended).await.unwrap().unwrap();
    assert_eq!((known.order.state, known.stale), (State::Cancelled, false), "nothing moves on from there");
    assert!(lookup.order(fresh_id()).await.is_err(), "what nobody knows is not unknown: the store did not say so");

    moody.become_(Mood::Well);
    while lookup.order(open).await.unwrap().unwrap().stale {
        tokio::task::yield_now().await;
    }
    let unknown = fresh_id();
    assert_eq!(lookup.order(unknown).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_that_failed_often_is_left_alone_and_tried_by_one_reader_at_a_time() {
    let house = House::new(Backend::Sqlite).await.with_redis(&servers::redis().await).await;
    let (shop, moody, lookup) = shop_and_lookup(&house).await;
    let id = fresh_id();
    shop.ask(Command::Create(create(id, 1))).await.unwrap();
    until_cached(&house, id, 1).await;

    moody.become_(Mood::Failing);
    for _ in 0..FAILURES_MAX {
        assert!(lookup.order(id).await.unwrap().unwrap().stale);
    }
    assert_eq!(moody.asked(), FAILURES_MAX);
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(lookup.order(id).await.unwrap().unwrap().stale);
    }
    let probes = 1 + u32::try_from(begun.elapsed().as_millis() / PROBE_PAUSE.as_millis()).unwrap();
    let asked = moody.asked();
    assert!(asked <= probes, "asked {asked} times within {:?}", begun.elapsed());

    // What the cache does not know is worth asking for all the same.
    moody.become_(Mood::Well);
    assert_eq!(lookup.order(fresh_id()).await.unwrap(), None);
}
