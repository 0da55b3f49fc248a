//! A Redis that loses data, stands still or goes away in the middle of a sale. Whatever it does, nobody waits for it, and
//! the next look at the ledger makes all well.

use std::{sync::Arc, time::Duration};

use spillway_testkit::{
    proxy::{Direction, Fault, Proxy},
    servers::RedisServer,
};
use spillway_types::Reason;
use tokio::time::Instant;

use super::*;
use crate::store::gate::{
    Gate, NotSet, differences,
    tests::{Books, CONFIG, PATIENCE, connected, fresh_sku, order, reserve, setting, stock},
};

/// What a caller's wait for a gate that does not answer may add up to, however many ask: a few budgets, and time for a
/// machine that is busy with other tests.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// A sold-out SKU at a gate on `redis`, whose counter says so.
async fn sold_out(redis: Redis) -> (Gate, Arc<RedisCounters>, Books, Sku) {
    let (counters, books, hot) = (Arc::new(RedisCounters::new(redis)), Books::default(), fresh_sku());
    books.put(&hot, 0);
    let gate = Gate::new(Arc::clone(&counters) as Arc<dyn Counters>, CONFIG);
    assert!(gate.enter(&reserve(1, &[(&hot, 1)])).await.is_ok(), "nobody has looked yet");
    gate.reconcile(&books).await.unwrap();
    assert_eq!(gate.enter(&reserve(2, &[(&hot, 1)])).await.unwrap_err().reason, Reason::OutOfStock);
    (gate, counters, books, hot)
}

/// Asks a gate that cannot answer so often that it must have noticed; nobody is refused, and nobody waits long.
async fn ask_in_vain(gate: &Gate, hot: &Sku, first: u128) {
    let (began, before) = (Instant::now(), gate.totals());
    for n in 0..200 {
        gate.enter(&reserve(first + n, &[(hot, 1)])).await.expect("it fails open");
    }
    assert!(began.elapsed() < WAIT_MAX, "200 callers waited {:?} for a gate that does not answer", began.elapsed());
    assert_eq!(gate.totals().failed_open - before.failed_open, 200);
    assert!(gate.check().is_err(), "it says that it stands open");
}

/// Reconciles as the worker does until it works.
async fn until_reconciled(gate: &Gate, books: &Books) {
    let began = Instant::now();
    while let Err(error) = gate.reconcile(books).await {
        assert!(matches!(error, NotSet::Counters(_)), "{error}");
        assert!(began.elapsed() < PATIENCE, "the gate is not back: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("the gate was back after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_counter_that_is_flushed_away_comes_back_with_the_next_look_and_late_scripts_change_nothing() {
    let server = RedisServer::private().await;
    let (gate, counters, books, hot) = sold_out(connected(server.url()).await).await;
    books.put(&hot, 4);
    gate.reconcile(&books).await.unwrap();
    let pass = gate.enter(&reserve(3, &[(&hot, 3)])).await.unwrap();
    let (before, old) = (setting(&*counters, 77, PATIENCE).await, stock(&hot, 9, 1));

    server.flushall().await;
    assert!(gate.enter(&reserve(4, &[(&hot, 9)])).await.is_ok(), "without a counter it has no opinion");
    gate.leave(order(3), pass, &Err::<(), _>(spillway_types::Fault::tombstone())).await;
    assert_eq!(gate.admissible(&hot).await, Ok(None), "what comes back late makes no counter");

    gate.reconcile(&books).await.unwrap();
    assert_eq!(differences(&*counters, &books, std::slice::from_ref(&hot)).await.unwrap(), []);
    counters.set(&old, before).await.unwrap();
    counters.give_back(&hot, order(3), before.generation).await.unwrap();
    assert_eq!(gate.admissible(&hot).await, Ok(Some(4)), "nor does an old look undo a later one");
}

#[tokio::test]
async fn a_frozen_or_killed_server_opens_the_gate_and_its_return_closes_it() {
    let server = RedisServer::private().await;
    let (gate, counters, books, hot) = sold_out(connected(server.url()).await).await;

    server.freeze().await;
    ask_in_vain(&gate, &hot, 1_000).await;
    gate.reconcile(&books).await.unwrap_err();
    server.thaw().await;
    until_reconciled(&gate, &books).await;
    assert!(gate.check().is_ok());
    assert!(gate.enter(&reserve(5, &[(&hot, 1)])).await.is_err(), "it refuses again");

    server.kill().await;
    ask_in_vain(&gate, &hot, 2_000).await;
    server.restart().await;
    until_reconciled(&gate, &books).await;
    assert_eq!(differences(&*counters, &books, std::slice::from_ref(&hot)).await.unwrap(), []);
    assert!(gate.enter(&reserve(6, &[(&hot, 1)])).await.is_err(), "scripts are sent to a server that lost them");
}

#[tokio::test]
async fn verdicts_that_are_lost_on_their_way_count_until_the_next_look() {
    let server = RedisServer::private().await;
    let proxy = Proxy::to(server.address()).await.unwrap();
    let (gate, counters, books, hot) = sold_out(connected(&format!("redis://{}", proxy.address())).await).await;
    books.put(&hot, 5);
    gate.reconcile(&books).await.unwrap();

    proxy.set(Direction::Down, Fault::Hole);
    for n in 0..5 {
        gate.enter(&reserve(100 + n, &[(&hot, 1)])).await.expect("no verdict, so the ledger is asked");
    }
    assert!(proxy.injected().held > 0, "nothing was held up: this proves nothing");
    let direct = RedisCounters::new(connected(server.url()).await);
    assert_eq!(direct.left(&hot).await, Ok(Some(0)), "all five were counted, unheard");

    proxy.heal();
    until_reconciled(&gate, &books).await;
    assert_eq!(differences(&*counters, &books, std::slice::from_ref(&hot)).await.unwrap(), []);
    assert_eq!(gate.admissible(&hot).await, Ok(Some(5)));
}

#[tokio::test]
async fn a_promoted_replica_that_lagged_is_put_right_whichever_way_it_is_wrong() {
    let (master, replica) = (RedisServer::private().await, RedisServer::private().await);
    let lag = Proxy::to(master.address()).await.unwrap();
    let (first, [hot, cold]) = (RedisCounters::new(connected(master.url()).await), [fresh_sku(), fresh_sku()]);
    let before = setting(&first, 1, PATIENCE).await;
    first.set(&stock(&hot, 3, 1), before).await.unwrap();
    first.set(&stock(&cold, 0, 1), before).await.unwrap();
    replica.replica_of(lag.address()).await;

    // The replica does not hear that the hot one is sold out, nor that somebody gave the cold one back.
    lag.set_both(Fault::Hole);
    let (sold, after) = (order(1), setting(&first, 2, PATIENCE).await);
    first.admit(&hot, sold, 3).await.unwrap();
    first.set(&stock(&hot, 0, 2), after).await.unwrap();
    first.set(&stock(&cold, 6, 2), after).await.unwrap();
    master.kill().await;
    replica.promote().await;

    let (books, promoted) = (Books::default(), Arc::new(RedisCounters::new(connected(replica.url()).await)));
    let skus = [hot.clone(), cold.clone()];
    for (sku, available) in [(&hot, 3), (&hot, 0), (&cold, 0), (&cold, 6)] {
        books.put(sku, available);
    }
    assert_eq!(differences(&*promoted, &books, &skus).await.unwrap().len(), 2, "both are wrong at first");
    promoted.give_back(&hot, sold, after.generation).await.unwrap();
    assert_eq!(promoted.left(&hot).await, Ok(Some(3)), "what the old master counted is not given back to the new one");

    let gate = Gate::new(Arc::clone(&promoted) as Arc<dyn Counters>, CONFIG);
    gate.enter(&reserve(2, &[(&hot, 1)])).await.expect("it may admit too many");
    gate.enter(&reserve(3, &[(&cold, 1)])).await.expect_err("and too few, until the next look");
    gate.reconcile(&books).await.unwrap();
    assert_eq!(differences(&*promoted, &books, &skus).await.unwrap(), []);
    gate.enter(&reserve(4, &[(&hot, 1)])).await.unwrap_err();
    gate.enter(&reserve(5, &[(&cold, 1)])).await.unwrap();
}
