//! The store suite: what the ledger promises, asked of a real file. Written once; each backend runs it.

use std::{path::Path, sync::Arc, time::Duration};

use spillway_storage::{
    Committer,
    group_commit::{self, Limits},
};
use spillway_types::{BuyerId, Fingerprint, ManualClock, Money, Reason, RequestId, Timestamp};

use super::{sqlite::SqliteReader, *};
use crate::domain::{
    Hold,
    command::{AdjustStock, Confirm, CreateItem, Reserve},
};

struct Shop {
    committer: Committer<Ledger>,
    reader: SqliteReader,
}

async fn open(directory: &Path, clock: &ManualClock) -> Shop {
    let path = directory.join("inventory.db");
    let (_, store, reader) = sqlite::open(&path, Arc::new(clock.clone())).await.unwrap();
    Shop { committer: group_commit::spawn(store, Limits { batch_max: 64, queue_max: 1_024 }), reader }
}

impl Shop {
    async fn ask(&self, command: Command) -> Result<Answer, Fault> {
        self.committer.submit(command).await.unwrap()
    }

    async fn stock(&self, name: &str, on_hand: i64) -> Once<CreateItem> {
        let unit_price = Money::new(1_999, "EUR".parse().unwrap());
        let body = CreateItem { sku: sku(name), title: name.to_owned(), unit_price, on_hand };
        let once = Once { request_id: RequestId::random(), fingerprint: Fingerprint::of(&body), body };
        self.ask(Command::CreateItem(once.clone())).await.unwrap();
        once
    }

    async fn balances(&self, name: &str) -> (i64, i64, i64, i64) {
        let item = self.reader.item(&sku(name)).await.unwrap().unwrap();
        (item.on_hand, item.available, item.held, item.sold_unshipped)
    }
}

fn sku(name: &str) -> Sku {
    Sku::new(name).unwrap()
}

fn order(n: u128) -> OrderId {
    OrderId::new(uuid::Uuid::from_u128(n))
}

fn reserve(n: u128, quantity: u32, hold: Hold) -> Command {
    let buyer_id = BuyerId::new(format!("buyer-{n}")).unwrap();
    let lines = vec![(sku("HOT"), quantity)];
    let fingerprint = Fingerprint::of(&(&buyer_id, &lines, hold));
    Command::Reserve(Reserve { order_id: order(n), buyer_id, lines, hold, fingerprint })
}

#[tokio::test]
async fn the_same_key_has_one_effect_from_32_callers_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_micros(1));
    let shop = open(directory.path(), &clock).await;
    let created = shop.stock("HOT", 3).await;
    let asked = |n| std::iter::repeat_n(reserve(n, 2, Hold::Pinned), 32);
    let held = futures_util::future::join_all(asked(1).map(|command| shop.ask(command))).await;
    let refused = futures_util::future::join_all(asked(2).map(|command| shop.ask(command))).await;
    assert!(held.iter().all(|answer| answer.is_ok() && *answer == held[0]), "{held:?}");
    assert!(refused.iter().all(|answer| *answer == refused[0]), "{refused:?}");
    assert_eq!(refused[0].as_ref().unwrap_err().reason, Reason::OutOfStock);
    assert_eq!(shop.balances("HOT").await, (3, 1, 2, 0));

    drop(shop);
    let shop = open(directory.path(), &clock).await;
    assert_eq!(shop.ask(reserve(1, 2, Hold::Pinned)).await, held[0], "the answer survives a restart");
    assert_eq!(shop.ask(reserve(2, 2, Hold::Pinned)).await, refused[0], "and so does a refusal");
    let reused = shop.ask(reserve(1, 1, Hold::Pinned)).await.unwrap_err();
    assert_eq!(reused.reason, Reason::RequestIdReused);
    let Ok(Answer::Item(item)) = shop.ask(Command::CreateItem(created)).await else { panic!("a repeat is answered") };
    assert_eq!((item.on_hand, item.available), (3, 3), "as it was at the first time");
    assert_eq!(shop.balances("HOT").await, (3, 1, 2, 0));
}

#[tokio::test]
async fn compensation_is_total_and_what_is_sold_stays_sold() {
    let directory = tempfile::tempdir().unwrap();
    let shop = open(directory.path(), &ManualClock::default()).await;
    shop.stock("HOT", 10).await;
    shop.ask(Command::Release(order(1))).await.unwrap();
    let late = shop.ask(reserve(1, 1, Hold::Pinned)).await.unwrap_err();
    assert_eq!(late.reason, Reason::Cancelled);

    shop.ask(reserve(2, 4, Hold::Pinned)).await.unwrap();
    let twice = tokio::join!(shop.ask(Command::Release(order(2))), shop.ask(Command::Release(order(2))));
    assert!(twice.0.is_ok() && twice.1.is_ok());
    assert_eq!(shop.balances("HOT").await, (10, 10, 0, 0));

    shop.ask(reserve(3, 4, Hold::Pinned)).await.unwrap();
    shop.ask(Command::Confirm(Confirm { order_id: order(3), lines: None })).await.unwrap();
    let Ok(Answer::Reservation(found)) = shop.ask(Command::Release(order(3))).await else { panic!("accepted") };
    assert_eq!(found.state, State::Confirmed);
    assert_eq!(shop.balances("HOT").await, (10, 6, 0, 4));
}

#[tokio::test]
async fn a_sale_in_one_batch_sells_exactly_its_stock_and_leaves_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    let shop = open(directory.path(), &ManualClock::default()).await;
    shop.stock("HOT", 100).await;
    let crowd = (1..=500).map(|n| shop.ask(reserve(n, 1, Hold::Pinned)));
    let answers = futures_util::future::join_all(crowd).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 100);
    assert_eq!(shop.balances("HOT").await, (100, 0, 100, 0));
    let (batches, commands) = shop.committer.totals();
    assert!(commands == 501 && batches < 100, "{commands} commands took {batches} transactions");
    let journal: (i64, i64) = sqlx::query_as("select sum(available), sum(held) from movement where sku = 'HOT'")
        .fetch_one(shop.reader.pool())
        .await
        .unwrap();
    assert_eq!(journal, (0, 100));
    let events: i64 = sqlx::query_scalar("select count(*) from outbox").fetch_one(shop.reader.pool()).await.unwrap();
    assert_eq!(events, 100, "one event a change, none for a refusal");
}

#[tokio::test]
async fn lapsed_promises_go_back_on_offer_by_transition() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_micros(1));
    let shop = open(directory.path(), &clock).await;
    shop.stock("HOT", 2).await;
    shop.ask(reserve(1, 1, Hold::For(Duration::from_secs(5)))).await.unwrap();
    shop.ask(reserve(2, 1, Hold::Pinned)).await.unwrap();
    clock.advance(Duration::from_secs(6));
    assert!(matches!(shop.ask(Command::Expire).await, Ok(Answer::Expired(1))));
    assert_eq!(shop.balances("HOT").await, (2, 1, 1, 0));
    let adjust = AdjustStock { sku: sku("HOT"), delta: -2, reason: "broken".to_owned() };
    let once = Once { request_id: RequestId::random(), fingerprint: Fingerprint::of(&adjust), body: adjust };
    let refused = shop.ask(Command::AdjustStock(once)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::OutOfStock, "only what is on offer can be taken out");
}
