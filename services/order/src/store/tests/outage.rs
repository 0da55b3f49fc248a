//! A database server that hangs or dies, and comes back.

use spillway_testkit::servers::{self, Postgres};
use tokio::time::{Instant, sleep};

use super::{house::Shop, *};
use crate::store::lookup::Known;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(15);
/// The deadline that a read has by default.
const DEADLINE: Duration = Duration::from_secs(2);

/// Commands before a crash: some fifteen batches, of which the first few commit.
const COMMANDS: usize = 1_000;

async fn look(shop: &Shop, order_id: OrderId) -> Result<Option<Known>, StoreError> {
    let begun = Instant::now();
    let known = shop.lookup.order(order_id).await;
    assert!(begun.elapsed() < DEADLINE, "{known:?} after {:?}", begun.elapsed());
    known
}

/// Looks until the answer is or is not stale, and gives its version.
async fn look_until(shop: &Shop, order_id: OrderId, stale: bool) -> i64 {
    let begun = Instant::now();
    loop {
        match look(shop, order_id).await {
            Ok(Some(known)) if known.stale == stale => return known.order.version,
            other => assert!(begun.elapsed() < LONG, "no answer that is stale={stale}: {other:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn orders_that_moved_are_read_while_the_database_hangs_or_is_gone_and_written_when_it_is_back() {
    let server = Postgres::private().await;
    let house = House::at(&server.fresh("order").await).with_redis(&servers::redis().await).await;
    let shop = house.open().await;
    let (open, ended, unwritten) = (fresh_id(), fresh_id(), fresh_id());
    for id in [open, ended] {
        shop.ask(created(id)).await.unwrap();
    }
    shop.ask(moved(ended, Move::Cancel)).await.unwrap();
    assert_eq!(look_until(&shop, open, false).await, 1);

    for fault in ["frozen", "killed"] {
        if fault == "frozen" {
            server.freeze().await
        } else {
            server.kill().await
        }
        look_until(&shop, open, true).await;
        let known = look(&shop, ended).await.unwrap().unwrap();
        assert_eq!((known.order.state, known.stale), (State::Cancelled, false), "{fault}: final is final");
        assert!(look(&shop, fresh_id()).await.is_err(), "{fault}: nobody knows");
        let begun = Instant::now();
        let refused = shop.committer.submit(created(unwritten)).await;
        assert!(refused.is_err() && begun.elapsed() < LONG, "{fault}: {refused:?} after {:?}", begun.elapsed());

        if fault == "frozen" {
            server.thaw().await
        } else {
            server.restart().await
        }
        let back = Instant::now();
        let id = fresh_id();
        while let Err(error) = shop.committer.submit(created(id)).await {
            assert!(back.elapsed() < LONG, "{fault}: not writing again: {error}");
        }
        println!("{fault}: writing again {:?} after the server was back", back.elapsed());
        assert_eq!(shop.moves(id).await, [(1, Move::Create)]);
        assert_eq!(look_until(&shop, open, false).await, 1, "{fault}");
    }
    // Nobody was told what became of it; asked again, it is there once.
    assert_eq!(shop.ask(created(unwritten)).await.unwrap().version, 1);
    assert_eq!(shop.moves(unwritten).await, [(1, Move::Create)]);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_in_the_middle_of_commits() {
    let server = Postgres::private().await;
    let house = House::at(&server.fresh("order").await);
    let shop = house.open().await;
    let mut acknowledged = Vec::new();
    let mut unknown = Vec::new();
    for round in 0..3 {
        let ids: Vec<_> = (0..COMMANDS).map(|_| fresh_id()).collect();
        let asked = join_all(ids.iter().map(|id| shop.committer.submit(created(*id))));
        let crash = async {
            let before = shop.committer.totals().batches;
            while shop.committer.totals().batches == before {
                tokio::task::yield_now().await;
            }
            server.kill().await;
        };
        let (answers, ()) = tokio::join!(asked, crash);
        server.restart().await;
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Ok(answer) => acknowledged.push((id, answer.unwrap())),
                Err(_) => unknown.push(id),
            }
        }
        println!("round {round}: {} acknowledged, {} unknown", acknowledged.len(), unknown.len());
    }
    assert!(!acknowledged.is_empty() && !unknown.is_empty(), "the crashes came between commits");
    let begun = Instant::now();
    for (id, answer) in acknowledged {
        let found = loop {
            match shop.reader.order(id).await {
                Ok(found) => break found.unwrap(),
                Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
            }
        };
        assert_eq!(Answer::Order(Box::new(found)), answer);
    }
    for id in unknown {
        while let Err(error) = shop.committer.submit(created(id)).await {
            assert!(begun.elapsed() < LONG, "{error}");
        }
        assert_eq!(shop.moves(id).await, [(1, Move::Create)], "asked again, it is there once");
    }
}
