//! The store suite: what the order service promises, asked of a real database. Written once; each backend runs it.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use spillway_types::{Reason, id::Partition};

use self::house::House;
use super::*;
use crate::domain::{
    Advance, Move, Progress, Role,
    tests::{NOON, advance, create, fresh_id},
};

pub(crate) mod house;
mod outage;
mod replicas;

fn created(order_id: OrderId) -> Command {
    Command::Create(create(order_id, 2))
}

fn moved(order_id: OrderId, step: Move) -> Command {
    Command::Advance(advance(order_id, step, Role::Saga))
}

#[tokio::test]
async fn the_same_key_has_one_effect_from_32_callers_and_after_a_restart() {
    for house in House::each() {
        let house = house.await;
        let shop = house.open().await;
        let (id, buried) = (fresh_id(), fresh_id());
        for (command, version) in [
            (created(id), 1),
            (moved(id, Move::AwaitPayment), 2),
            (moved(id, Move::Pay), 3),
            (moved(buried, Move::Cancel), 0),
        ] {
            let answers = join_all(std::iter::repeat_n(command, 32).map(|command| shop.ask(command))).await;
            assert!(answers.iter().all(|answer| answer.is_ok() && *answer == answers[0]), "{answers:?}");
            assert_eq!(answers[0].as_ref().unwrap().version, version);
        }
        let paid = shop.ask(moved(id, Move::Pay)).await;
        let refused = join_all((0..32).map(|_| shop.ask(created(buried)))).await;
        assert!(refused.iter().all(|answer| *answer == Err(Fault::tombstone())), "{refused:?}");

        drop(shop);
        let shop = house.open().await;
        assert_eq!(shop.ask(moved(id, Move::Pay)).await, paid, "the answer survives a restart");
        assert_eq!(shop.ask(created(id)).await, paid);
        assert_eq!(shop.reader.order(id).await.unwrap(), paid.ok());
        assert_eq!(shop.ask(created(buried)).await, Err(Fault::tombstone()), "and so does the tombstone");
        let reused = shop.ask(Command::Create(create(id, 3))).await.unwrap_err();
        assert_eq!(reused.reason, Reason::RequestIdReused);
        assert_eq!(shop.moves(id).await, [(1, Move::Create), (2, Move::AwaitPayment), (3, Move::Pay)]);
        assert!(shop.moves(buried).await.is_empty(), "a tombstone is no move");
    }
}

#[tokio::test]
async fn compensation_is_total_before_after_twice_and_beside_the_forward_call() {
    for house in House::each() {
        let house = house.await;
        let shop = house.open().await;
        let id = fresh_id();
        shop.ask(created(id)).await.unwrap();
        let twice = tokio::join!(shop.ask(moved(id, Move::Cancel)), shop.ask(moved(id, Move::Cancel)));
        assert_eq!(twice.0, twice.1);
        assert_eq!(shop.moves(id).await, [(1, Move::Create), (2, Move::Cancel)]);
        assert_eq!(shop.ask(moved(id, Move::Pay)).await.unwrap_err().reason, Reason::IllegalTransition);

        let paid = fresh_id();
        shop.ask(created(paid)).await.unwrap();
        shop.ask(moved(paid, Move::Pay)).await.unwrap();
        assert_eq!(shop.ask(moved(paid, Move::Cancel)).await.unwrap().state, State::Paid);

        // In one batch, whichever comes first: the two agree on how it ended.
        for _ in 0..20 {
            let id = fresh_id();
            let (forward, back) = tokio::join!(shop.ask(created(id)), shop.ask(moved(id, Move::Cancel)));
            let stands = shop.reader.order(id).await.unwrap().unwrap();
            assert_eq!((stands.state, back.unwrap()), (State::Cancelled, stands.clone()));
            assert_eq!(forward.is_err(), stands.is_tombstone());
        }
    }
}

#[tokio::test]
async fn a_piece_of_news_is_taken_once_however_often_it_comes() {
    for house in House::each() {
        let house = house.await;
        let shop = house.open().await;
        let ids: Vec<_> = (0..3).map(|_| fresh_id()).collect();
        for id in &ids {
            shop.ask(created(*id)).await.unwrap();
            shop.ask(moved(*id, Move::Pay)).await.unwrap();
        }
        let news = |order_id, progress| News { event_id: EventId::random(), order_id, progress };
        let mut batch: Vec<_> = ids.iter().map(|id| news(*id, Progress::Dispatched)).collect();
        batch.push(news(ids[0], Progress::Delivered));
        batch.push(news(fresh_id(), Progress::Dispatched));
        assert_eq!(shop.follow(batch.clone()).await, 1, "one is about an order that nobody knows");
        assert_eq!(shop.follow(batch.clone()).await, 0, "and is not looked at again");
        let path = [Move::Create, Move::Pay, Move::Fulfil, Move::Ship, Move::Deliver];
        assert_eq!(shop.moves(ids[0]).await, (1..).zip(path).collect::<Vec<_>>());
        assert_eq!(shop.moves(ids[1]).await, (1..).zip(path).take(3).collect::<Vec<_>>());
        let noted = house.meddler().await.number("select count(*) from inbox").await;
        assert_eq!(noted, i64::try_from(batch.len()).unwrap());
    }
}

#[tokio::test]
async fn lists_are_newest_first_and_pages_meet_without_gap() {
    for house in House::each() {
        let house = house.await;
        let shop = house.open().await;
        let buyers: Vec<BuyerId> = ["ada", "grace"].map(|name| name.parse().unwrap()).to_vec();
        let mut newest_first = Vec::new();
        for n in 0..20_u64 {
            let buyer_id = &buyers[usize::from(n % 4 == 0)];
            let minted = NOON.saturating_add(Duration::from_millis(n));
            let id = OrderId::mint(minted, buyer_id, Partition(0));
            shop.ask(Command::Create(crate::domain::Create { buyer_id: buyer_id.clone(), ..create(id, 1) }))
                .await
                .unwrap();
            if n % 2 == 0 {
                shop.ask(moved(id, Move::Pay)).await.unwrap();
            }
            newest_first.insert(0, (n, id));
        }
        let all =
            Listing { tenant_id: TenantId::default(), buyer_id: None, states: Vec::new(), before: None, limit: 7 };
        let mut seen = Vec::new();
        while let page = shop.reader.orders(&Listing { before: seen.last().copied(), ..all.clone() }).await.unwrap()
            && !page.is_empty()
        {
            seen.extend(page.into_iter().map(|order| order.order_id));
        }
        assert_eq!(seen, newest_first.iter().map(|(_, id)| *id).collect::<Vec<_>>());

        let narrow = Listing {
            buyer_id: Some(buyers[0].clone()),
            states: vec![State::Paid, State::Cancelled],
            limit: 100,
            ..all
        };
        let found: BTreeSet<_> =
            shop.reader.orders(&narrow).await.unwrap().iter().map(|order| order.order_id).collect();
        let expected = newest_first.iter().filter(|(n, _)| n % 4 == 2).map(|(_, id)| *id).collect();
        assert_eq!(found, expected);
        let foreign = Listing { tenant_id: "other".parse().unwrap(), ..narrow };
        assert!(shop.reader.orders(&foreign).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn followers_hear_of_commits_even_when_the_caller_has_gone() {
    for house in House::each() {
        let house = house.await;
        let shop = house.open().await;
        let id = fresh_id();
        let mut follower = shop.hub.follow(id).unwrap();
        {
            let asked = shop.ask(created(id));
            tokio::pin!(asked);
            // Handed over, then given up.
            assert!(futures_util::poll!(asked.as_mut()).is_pending());
        }
        tokio::time::timeout(Duration::from_secs(5), follower.moved()).await.unwrap();
        assert_eq!(shop.reader.order(id).await.unwrap().unwrap().version, 1);
        let refused =
            shop.ask(Command::Advance(Advance { expected_version: Some(7), ..advance(id, Move::Pay, Role::Saga) }));
        assert_eq!(refused.await.unwrap_err().reason, Reason::VersionConflict);
        assert!(futures_util::poll!(std::pin::pin!(follower.moved())).is_pending(), "a refusal is no move");
    }
}

#[tokio::test]
async fn the_database_itself_refuses_to_forget() {
    for house in House::each() {
        let house = house.await;
        let shop = house.open().await;
        shop.ask(created(fresh_id())).await.unwrap();
        let meddler = house.meddler().await;
        for (sql, guard) in [
            ("update orders set total_minor = 1", "orders_contents_tr"),
            ("update orders set price = '{}'", "orders_contents_tr"),
            ("update orders set state = 'LOST'", "orders_state_ck"),
            ("update orders set version = 0", "orders_tombstone_ck"),
            ("update order_event set reason = 'nothing to see'", "order_event_update_tr"),
            ("delete from order_event", "order_event_delete_tr"),
        ] {
            let error = meddler.execute(sql).await.unwrap_err().to_string();
            assert!(error.contains(guard), "{sql}: {error}");
        }
    }
}
