//! Two replicas on one database: whoever comes second with a new key starts over and finds what the first one wrote, and
//! nothing is sold twice.

use std::time::Duration;

use spillway_storage::{Rules, Session, Store, StoreError};
use spillway_types::{Fault, Reason};

use super::PgStore;
use crate::{
    domain::{Answer, Command, Hold, State},
    store::{
        Ledger, Rows,
        tests::{Backend, Shop, create, order, reserve, reserve_lines},
    },
};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A replica's writer, a step at a time.
struct Replica {
    store: PgStore,
    command: Command,
}

impl Replica {
    fn of(shop: &Shop, command: Command) -> Self {
        let spillway_storage::database::Database::Postgres(database) = &shop.database else {
            panic!("replicas share a server");
        };
        Self { store: PgStore::new(database), command }
    }

    async fn load(&mut self) -> Rows {
        self.store.session().begin().await.unwrap();
        self.store.load(std::slice::from_ref(&self.command)).await.unwrap()
    }

    async fn save(&mut self, mut rows: Rows) -> Result<Result<Answer, Fault>, StoreError> {
        let now = self.store.session().now().await?;
        let answer = Ledger::decide(&mut rows, &self.command, now);
        self.store.save(&rows).await?;
        self.store.session().commit().await?;
        Ok(answer)
    }

    /// As group commit does it after a conflict.
    async fn start_over(&mut self) -> Result<Answer, Fault> {
        self.store.session().rollback().await.unwrap();
        let rows = self.load().await;
        self.save(rows).await.unwrap()
    }
}

/// Waits until a session waits for another one's lock.
async fn until_somebody_waits(shop: &Shop) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let blocked = async {
        while shop.number(waiting).await == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, blocked).await.expect("a replica should wait for the other's rows");
}

/// Lets both replicas look before either writes. The answers of the first, and of the second once it has started over.
async fn race(shop: &Shop, first: Command, second: Command) -> (Result<Answer, Fault>, Result<Answer, Fault>) {
    let what = format!("{first:?} against {second:?}");
    let (mut first, mut second) = (Replica::of(shop, first), Replica::of(shop, second));
    let seen = first.load().await;
    // The second one sees no row either; where it wants an item that the first one has locked, it waits there.
    let looking = tokio::spawn(async move {
        let rows = second.load().await;
        (second, rows)
    });
    while !looking.is_finished() {
        tokio::select! {
            () = until_somebody_waits(shop) => break,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    let winner = first.save(seen).await.unwrap();
    let (mut second, seen) = looking.await.unwrap();
    match second.save(seen).await {
        Err(StoreError::Conflict(key)) => println!("{what}: {key}"),
        other => panic!("{what}: the second one should find the key taken, not {other:?}"),
    }
    (winner, second.start_over().await)
}

#[tokio::test]
async fn who_comes_second_with_a_new_key_starts_over_and_finds_the_first() {
    let shop = Backend::Postgres.open().await;
    let (winner, late) =
        race(&shop, Command::CreateItem(create("HOT", 10)), Command::CreateItem(create("HOT", 10))).await;
    assert!(winner.is_ok());
    assert_eq!(late.unwrap_err().reason, Reason::AlreadyExists, "a SKU");
    shop.stock("COLD", 10).await;

    let twice = Command::CreateItem(create("NEW", 1));
    let (winner, late) = race(&shop, twice.clone(), twice).await;
    assert!(winner.is_ok() && winner == late, "a request id: {winner:?}, {late:?}");

    let (winner, late) = race(&shop, reserve(1, 2, Hold::Pinned), reserve(1, 2, Hold::Pinned)).await;
    assert!(winner.is_ok() && winner == late, "an order: {winner:?}, {late:?}");

    let other = reserve_lines(2, &[("COLD", 2)], Hold::Pinned);
    let (winner, late) = race(&shop, reserve(2, 2, Hold::Pinned), other).await;
    assert!(winner.is_ok());
    assert_eq!(late.unwrap_err().reason, Reason::RequestIdReused, "an order that wants other goods");

    let (winner, late) = race(&shop, Command::Release(order(3)), reserve(3, 1, Hold::Pinned)).await;
    assert!(winner.is_ok());
    assert_eq!(late.unwrap_err().reason, Reason::Cancelled, "a tombstone is there first");

    let (winner, late) = race(&shop, reserve(4, 1, Hold::Pinned), Command::Release(order(4))).await;
    let Ok(Answer::Reservation(released)) = late else { panic!("a compensation is accepted: {late:?}") };
    assert!(winner.is_ok() && released.state == State::Released, "a promise is there first");

    let (winner, late) = race(&shop, reserve(5, 99, Hold::Pinned), reserve(5, 99, Hold::Pinned)).await;
    assert_eq!(winner, late, "a refusal");
    assert_eq!(winner.unwrap_err().reason, Reason::OutOfStock);

    assert_eq!(shop.balances("HOT").await, (10, 6, 4, 0));
    assert_eq!(shop.balances("COLD").await, (10, 10, 0, 0));
    shop.check_balances().await;
}

/// Sales until the replicas have met over a new key, and at least this many.
const SALES_MIN: u128 = 5;
/// So many sales without a meeting mean that the replicas do not run side by side.
const SALES_MAX: u128 = 200;
const ORDERS: u128 = 60;
const UNITS: i64 = 18;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_sell_the_last_units_sell_each_of_them_once() {
    let ours = Backend::Postgres.open().await;
    let theirs = ours.again().await;
    let conflicts = || ours.committer.totals().conflicts + theirs.committer.totals().conflicts;
    let mut sales = 0;
    while sales < SALES_MIN || conflicts() == 0 {
        assert!(sales < SALES_MAX, "in {sales} sales the replicas never met: this proves nothing");
        sales += 1;
        sell_out(&ours, &theirs, sales).await;
    }
    println!("{} batches were decided again in {sales} sales", conflicts());
    ours.check_balances().await;
    let held = ours.number("select count(*) from reservation where state = 'PINNED'").await;
    let given_up = ours.number("select count(*) from reservation where state = 'RELEASED' and version = 2").await;
    let events = ours.number("select count(*) from outbox").await;
    assert_eq!(events, held + 2 * given_up, "an event for each change: {held} held, {given_up} given up");
}

/// Asks both replicas for every order, as callers do whose first replica did not answer, and gives some up meanwhile.
async fn sell_out(ours: &Shop, theirs: &Shop, sale: u128) {
    let name = format!("HOT-{sale}");
    ours.stock(&name, UNITS).await;
    let of_sale = |n: u128| sale * 1_000 + n;
    let reserved = |n: u128| reserve_lines(of_sale(n), &[(&name, 1)], Hold::Pinned);
    let is_given_up = |n: u128| n.is_multiple_of(10);
    let crowd = (1..=ORDERS).flat_map(|n| {
        let there = if is_given_up(n) { Command::Release(order(of_sale(n))) } else { reserved(n) };
        [ours.ask(reserved(n)), theirs.ask(there)]
    });
    let answers = futures_util::future::join_all(crowd).await;
    let mut held = 0;
    for (n, pair) in (1..=ORDERS).zip(answers.chunks(2)) {
        if is_given_up(n) {
            let stands = ours.reader.reservation(order(of_sale(n))).await.unwrap().unwrap().state;
            assert!(pair[1].is_ok(), "sale {sale}: a compensation is accepted: {:?}", pair[1]);
            assert!(matches!(stands, State::Released | State::Refused), "sale {sale}: order {n} is {stands:?}");
        } else {
            assert_eq!(pair[0], pair[1], "sale {sale}: order {n} was answered in two ways");
            held += i64::from(pair[0].is_ok());
        }
    }
    assert_eq!(ours.balances(&name).await, (UNITS, UNITS - held, held, 0), "sale {sale}");
    let spare = UNITS - i64::try_from(ORDERS / 10).unwrap();
    assert!(held >= spare, "sale {sale}: {held} held, though only those given up may have left a unit over");
}

#[tokio::test]
async fn of_two_replicas_that_need_a_lapsed_promises_units_exactly_one_gets_them() {
    let ours = Backend::Postgres.open().await;
    let theirs = ours.again().await;
    ours.stock("HOT", 1).await;
    for round in 0..20_u128 {
        let [lapsing, first, second] = [1, 2, 3].map(|n| 10 * (round + 1) + n);
        ours.ask(reserve(lapsing, 1, Hold::For(Duration::from_millis(1)))).await.unwrap();
        ours.until_reservable("HOT", 1).await;
        let (mine, yours, swept) = tokio::join!(
            ours.ask(reserve(first, 1, Hold::Pinned)),
            theirs.ask(reserve(second, 1, Hold::Pinned)),
            theirs.ask(Command::Expire),
        );
        assert!(swept.is_ok());
        assert!(mine.is_ok() != yours.is_ok(), "round {round}: {mine:?} and {yours:?}");
        let lapsed = ours.reader.reservation(order(lapsing)).await.unwrap().unwrap();
        assert_eq!(lapsed.state, State::Expired, "round {round}");
        let winner = if mine.is_ok() { first } else { second };
        ours.ask(Command::Release(order(winner))).await.unwrap();
    }
    ours.check_balances().await;
}

#[tokio::test]
async fn a_replica_that_stands_still_with_its_rows_locked_is_thrown_out_and_cannot_write_later() {
    let shop = Backend::Postgres.open().await;
    shop.stock("HOT", 1).await;
    let mut frozen = Replica::of(&shop, reserve(1, 1, Hold::Pinned));
    let seen = frozen.load().await;
    // It saw the unit and holds the item's row. The other one waits for the row, until the server has had enough.
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(answer) = shop.committer.submit(reserve(2, 1, Hold::Pinned)).await {
                break answer;
            }
        }
    });
    assert!(asked.await.expect("the other replica should get the row").is_ok());
    frozen.save(seen).await.expect_err("it wakes up and writes what it had decided upon");
    assert_eq!(shop.balances("HOT").await, (1, 0, 1, 0));
    assert_eq!(frozen.start_over().await.unwrap_err().reason, Reason::OutOfStock);
    shop.check_balances().await;
}
