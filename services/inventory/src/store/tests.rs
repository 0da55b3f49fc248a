//! The store suite: what the ledger promises, asked of real databases. Written once; each backend runs it.

use std::time::Duration;

use spillway_types::{BuyerId, Fingerprint, Money, Reason, RequestId};

use super::*;
use crate::domain::{
    Hold,
    command::{AdjustStock, Confirm, CreateItem, Reserve},
};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

const LIMITS: Limits = Limits { batch_max: 64, queue_max: 1_024 };

/// Where a shop's ledger is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Backend {
    Sqlite,
    Postgres,
}

/// An open ledger, and what it was opened with.
pub(super) struct Shop {
    pub(super) committer: Committer<Ledger>,
    pub(super) reader: Arc<dyn Reader>,
    pub(super) database: Database,
    url: DatabaseUrl,
    resources: Resources,
    _directory: Arc<tempfile::TempDir>,
}

impl Backend {
    const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    pub(super) async fn open(self) -> Shop {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let url = match self {
            Self::Sqlite => "sqlite:".to_owned(),
            Self::Postgres => spillway_testkit::servers::postgres().await.fresh("inventory").await,
        };
        let resources = Resources::in_directory(directory.path());
        println!("on {self:?}: {url}");
        Shop::open(url.parse().unwrap(), resources, directory).await
    }
}

impl Shop {
    async fn open(url: DatabaseUrl, resources: Resources, directory: Arc<tempfile::TempDir>) -> Self {
        let (database, committer, reader) = open(&url, LIMITS, &resources).await.unwrap();
        Self { committer, reader, database, url, resources, _directory: directory }
    }

    /// The same ledger, opened once more: a restart if this shop is gone by then, a replica if it is not.
    pub(super) fn again(&self) -> impl Future<Output = Self> + use<> {
        Self::open(self.url.clone(), self.resources.clone(), Arc::clone(&self._directory))
    }

    pub(super) async fn ask(&self, command: Command) -> Result<Answer, Fault> {
        self.committer.submit(command).await.unwrap()
    }

    pub(super) async fn stock(&self, name: &str, on_hand: i64) -> Once<CreateItem> {
        let once = create(name, on_hand);
        self.ask(Command::CreateItem(once.clone())).await.unwrap();
        once
    }

    pub(super) async fn balances(&self, name: &str) -> (i64, i64, i64, i64) {
        let item = self.reader.item(&sku(name)).await.unwrap().unwrap();
        (item.on_hand, item.available, item.held, item.sold_unshipped)
    }

    /// What a query that has one number has.
    pub(super) async fn number(&self, sql: &'static str) -> i64 {
        match &self.database {
            Database::Sqlite(file) => sqlx::query_scalar(sql).fetch_one(file.readers()).await.unwrap(),
            Database::Postgres(server) => sqlx::query_scalar(sql).fetch_one(server.readers()).await.unwrap(),
        }
    }

    /// Invariant I1, from the rows and from the journal.
    pub(super) async fn check_balances(&self) {
        let wrong = self
            .number(
                "select count(*)
                   from item i
                   left join (select sku, sum(on_hand) as on_hand, sum(available) as available, sum(held) as held,
                                     sum(sold_unshipped) as sold_unshipped
                                from movement
                               group by sku) m using (sku)
                  where i.on_hand <> i.available + i.held + i.sold_unshipped
                     or i.on_hand <> coalesce(m.on_hand, 0)
                     or i.available <> coalesce(m.available, 0)
                     or i.held <> coalesce(m.held, 0)
                     or i.sold_unshipped <> coalesce(m.sold_unshipped, 0)",
            )
            .await;
        assert_eq!(wrong, 0, "items whose balances do not add up, or not to their journal");
    }

    /// Waits until the units of a lapsed promise count again.
    pub(super) async fn until_reservable(&self, name: &str, units: i64) {
        let skus = [sku(name)];
        let lapsed = async {
            while self.reader.stocks(&skus).await.unwrap()[0].available != units {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, lapsed).await.unwrap_or_else(|_| panic!("{units} of {name} never came back"));
    }
}

pub(super) fn sku(name: &str) -> Sku {
    Sku::new(name).unwrap()
}

pub(super) fn order(n: u128) -> OrderId {
    OrderId::new(uuid::Uuid::from_u128(n))
}

pub(super) fn create(name: &str, on_hand: i64) -> Once<CreateItem> {
    let unit_price = Money::new(1_999, "EUR".parse().unwrap());
    let body = CreateItem { sku: sku(name), title: name.to_owned(), unit_price, on_hand };
    Once { request_id: RequestId::random(), fingerprint: Fingerprint::of(&body), body }
}

pub(super) fn reserve(n: u128, quantity: u32, hold: Hold) -> Command {
    reserve_lines(n, &[("HOT", quantity)], hold)
}

pub(super) fn reserve_lines(n: u128, lines: &[(&str, u32)], hold: Hold) -> Command {
    let buyer_id = BuyerId::new(format!("buyer-{n}")).unwrap();
    let lines: Vec<_> = lines.iter().map(|(name, quantity)| (sku(name), *quantity)).collect();
    let fingerprint = Fingerprint::of(&(&buyer_id, &lines, hold));
    Command::Reserve(Reserve { order_id: order(n), buyer_id, lines, hold, fingerprint })
}

#[tokio::test]
async fn the_same_key_has_one_effect_from_32_callers_and_after_a_restart() {
    for backend in Backend::ALL {
        let shop = backend.open().await;
        let created = shop.stock("HOT", 3).await;
        let asked = |n| std::iter::repeat_n(reserve(n, 2, Hold::Pinned), 32);
        let held = futures_util::future::join_all(asked(1).map(|command| shop.ask(command))).await;
        let refused = futures_util::future::join_all(asked(2).map(|command| shop.ask(command))).await;
        assert!(held.iter().all(|answer| answer.is_ok() && *answer == held[0]), "{held:?}");
        assert!(refused.iter().all(|answer| *answer == refused[0]), "{refused:?}");
        assert_eq!(refused[0].as_ref().unwrap_err().reason, Reason::OutOfStock);
        assert_eq!(shop.balances("HOT").await, (3, 1, 2, 0));

        let restarted = shop.again();
        drop(shop);
        let shop = restarted.await;
        assert_eq!(shop.ask(reserve(1, 2, Hold::Pinned)).await, held[0], "the answer survives a restart");
        assert_eq!(shop.ask(reserve(2, 2, Hold::Pinned)).await, refused[0], "and so does a refusal");
        let reused = shop.ask(reserve(1, 1, Hold::Pinned)).await.unwrap_err();
        assert_eq!(reused.reason, Reason::RequestIdReused);
        let Ok(Answer::Item(item)) = shop.ask(Command::CreateItem(created)).await else {
            panic!("a repeat is answered");
        };
        assert_eq!((item.on_hand, item.available), (3, 3), "as it was at the first time");
        assert_eq!(shop.balances("HOT").await, (3, 1, 2, 0));
        shop.check_balances().await;
    }
}

#[tokio::test]
async fn compensation_is_total_and_what_is_sold_stays_sold() {
    for backend in Backend::ALL {
        let shop = backend.open().await;
        shop.stock("HOT", 10).await;
        shop.ask(Command::Release(order(1))).await.unwrap();
        let late = shop.ask(reserve(1, 1, Hold::Pinned)).await.unwrap_err();
        assert_eq!(late.reason, Reason::Cancelled);

        shop.ask(reserve(2, 4, Hold::Pinned)).await.unwrap();
        let twice = tokio::join!(shop.ask(Command::Release(order(2))), shop.ask(Command::Release(order(2))));
        assert!(twice.0.is_ok() && twice.1.is_ok());
        assert_eq!(shop.balances("HOT").await, (10, 10, 0, 0));

        shop.ask(reserve(3, 4, Hold::Pinned)).await.unwrap();
        let part = Some(vec![(sku("HOT"), 3)]);
        shop.ask(Command::Confirm(Confirm { order_id: order(3), lines: part })).await.unwrap();
        let Ok(Answer::Reservation(found)) = shop.ask(Command::Release(order(3))).await else { panic!("accepted") };
        assert_eq!((found.state, found.lines[0].confirmed), (State::Confirmed, 3));
        assert_eq!(shop.reader.reservation(order(3)).await.unwrap(), Some(found), "as a reader sees it");
        assert_eq!(shop.balances("HOT").await, (10, 7, 0, 3));
        shop.check_balances().await;
    }
}

#[tokio::test]
async fn rows_come_back_as_they_were_written() {
    for backend in Backend::ALL {
        let shop = backend.open().await;
        for name in ["b", "A", "a:1", "a"] {
            shop.stock(name, 5).await;
        }
        let listed = shop.reader.items(Some(&sku("A")), 2).await.unwrap();
        assert_eq!(listed.iter().map(|item| item.sku.as_str()).collect::<Vec<_>>(), ["a", "a:1"], "in byte order");

        let mut answers = Vec::new();
        for (n, hold) in [(1, Hold::Pinned), (2, Hold::For(Duration::from_secs(60)))] {
            let Ok(Answer::Reservation(held)) = shop.ask(reserve_lines(n, &[("A", 2), ("b", 1)], hold)).await else {
                panic!("there is enough for order {n}");
            };
            answers.push((order(n), held));
        }
        let refused = shop.ask(reserve_lines(3, &[("A", 9)], Hold::Pinned)).await.unwrap_err();
        let Ok(Answer::Reservation(tombstone)) = shop.ask(Command::Release(order(4))).await else { panic!("accepted") };
        answers.push((order(4), tombstone));
        for (order_id, answered) in answers {
            assert_eq!(shop.reader.reservation(order_id).await.unwrap(), Some(answered));
        }
        let recorded = shop.reader.reservation(order(3)).await.unwrap().unwrap();
        assert_eq!((recorded.state, recorded.refusal), (State::Refused, Some(refused)));
        assert_eq!(shop.reader.reservation(order(5)).await.unwrap(), None);
        shop.check_balances().await;
    }
}

#[tokio::test]
async fn a_sale_in_one_batch_sells_exactly_its_stock_and_leaves_a_journal() {
    for backend in Backend::ALL {
        let shop = backend.open().await;
        shop.stock("HOT", 100).await;
        let crowd = (1..=500).map(|n| shop.ask(reserve(n, 1, Hold::Pinned)));
        let answers = futures_util::future::join_all(crowd).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 100);
        assert_eq!(shop.balances("HOT").await, (100, 0, 100, 0));
        let totals = shop.committer.totals();
        assert!(totals.commands == 501 && totals.batches < 100, "{totals:?}");
        shop.check_balances().await;
        assert_eq!(shop.number("select count(*) from movement where kind = 'HOLD'").await, 100);
        let events = shop.number("select count(*) from outbox").await;
        assert_eq!(events, 100, "one event a change, none for a refusal");
    }
}

#[tokio::test]
async fn lapsed_promises_go_back_on_offer_by_transition() {
    for backend in Backend::ALL {
        let shop = backend.open().await;
        shop.stock("HOT", 3).await;
        shop.ask(reserve(1, 1, Hold::For(Duration::from_millis(1)))).await.unwrap();
        shop.ask(reserve(2, 1, Hold::Pinned)).await.unwrap();
        shop.until_reservable("HOT", 2).await;
        assert_eq!(shop.balances("HOT").await, (3, 1, 2, 0), "nothing moves by itself");
        assert_eq!(shop.ask(Command::Expire).await, Ok(Answer::Expired(1)));
        assert_eq!(shop.ask(Command::Expire).await, Ok(Answer::Expired(0)));
        assert_eq!(shop.balances("HOT").await, (3, 2, 1, 0));

        shop.ask(reserve(3, 2, Hold::For(Duration::from_millis(1)))).await.unwrap();
        shop.until_reservable("HOT", 2).await;
        shop.ask(reserve(4, 2, Hold::Pinned)).await.unwrap();
        let lapsed = shop.reader.reservation(order(3)).await.unwrap().unwrap();
        assert_eq!(lapsed.state, State::Expired, "taken back by who needed the units");
        let adjust = AdjustStock { sku: sku("HOT"), delta: -1, reason: "broken".to_owned() };
        let once = Once { request_id: RequestId::random(), fingerprint: Fingerprint::of(&adjust), body: adjust };
        let refused = shop.ask(Command::AdjustStock(once)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::OutOfStock, "only what is on offer can be taken out");
        shop.check_balances().await;
    }
}
