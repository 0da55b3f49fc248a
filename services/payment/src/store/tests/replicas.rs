//! Replicas that write side by side: whoever comes second at a row that was not there finds a taken key, and decides
//! again; whoever comes second at a row that is there waits for its lock.

use spillway_storage::postgres;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::*;
use crate::domain::Task;

/// Two replicas, and a way to let both get as far as writing before either may.
struct Replicas {
    place: Place,
    server: postgres::Database,
    one: Office,
    two: Office,
}

async fn replicas(name: &str) -> Replicas {
    let place = Place::postgres(name).await;
    let (one, two) = (open(&place).await, open(&place).await);
    Replicas { server: place.server().await, place, one, two }
}

impl Replicas {
    /// Asks both at once, and lets neither write to `table` before both have read what is there.
    async fn race(&self, table: &str, commands: [Command; 2]) -> [Result<Answer, Fault>; 2] {
        let before = self.conflicts();
        let mut gate = PgConnection::connect_with(self.server.options()).await.unwrap();
        // Rows can be read and locked under it, not written.
        let close = AssertSqlSafe(format!("begin; lock table {table} in share mode"));
        sqlx::raw_sql(close).execute(&mut gate).await.unwrap();
        let [first, second] = commands;
        let (first, second, ()) = tokio::join!(self.one.ask(first), self.two.ask(second), async {
            // Each waits at the gate, or for a row that the other one has locked before it came there.
            let waiting = "select count(*) from pg_stat_activity
                            where datname = current_database() and wait_event_type = 'Lock'";
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(self.server.readers()).await.unwrap() < 2 {
                tokio::task::yield_now().await;
            }
            sqlx::raw_sql("commit").execute(&mut gate).await.unwrap();
        });
        assert_eq!(self.conflicts() - before, 1, "the second of {table} is decided again: {first:?}, {second:?}");
        [first, second]
    }

    fn conflicts(&self) -> u64 {
        self.one.committer.totals().conflicts + self.two.committer.totals().conflicts
    }

    /// Every payment's events are 1, 2, 3 and so on to its version (I15).
    async fn check_events(&self) {
        let gaps = "select count(*) from payment p
                     where version <> (select count(*) from outbox where key = p.payment_id::text)
                        or version <> (select coalesce(max(sequence), 0) from outbox where key = p.payment_id::text)";
        assert_eq!(self.one.numbers(gaps).await, [0], "I15");
    }
}

fn tasks(answers: &[Result<Answer, Fault>; 2]) -> Vec<(Task, bool)> {
    let task = |answer: &Result<Answer, Fault>| match answer {
        Ok(Answer::Open { task, fresh }) => (task.clone(), *fresh),
        other => panic!("{other:?}"),
    };
    answers.iter().map(task).collect()
}

fn reasons(answers: &[Result<Answer, Fault>]) -> Vec<Reason> {
    answers.iter().filter_map(|answer| answer.as_ref().err()).map(|fault| fault.reason).collect()
}

#[tokio::test]
async fn two_that_meet_at_a_new_payment_make_one() {
    let shop = replicas("new payment").await;
    let one = open(&shop.place).await.with_wallet().await;
    let answers = shop.race("payment", [authorize(1, 300, true), authorize(1, 300, true)]).await;
    let told = tasks(&answers);
    assert_eq!(told[0].0, told[1].0);
    assert!(told[0].1 != told[1].1, "one of them is to ask first, the other to look: {told:?}");
    assert_eq!(one.points().await, (700, 300, 0));

    let answers = shop.race("payment", [authorize(2, 100, false), authorize(2, 101, false)]).await;
    assert_eq!(reasons(&answers), [Reason::RequestIdReused]);
    shop.check_events().await;
}

#[tokio::test]
async fn a_payment_and_its_tombstone_that_race_leave_one_of_them() {
    let shop = replicas("tombstone").await;
    let one = open(&shop.place).await.with_wallet().await;
    for n in 1..=6 {
        let answers = shop.race("payment", [authorize(n, 100, false), void(n)]).await;
        let payment = one.reader.payment(order(n)).await.unwrap().unwrap();
        let expected = match &answers[0] {
            Ok(_) => (State::Voiding, 2),
            Err(fault) => {
                assert_eq!(fault.reason, Reason::Cancelled);
                (State::Voided, 0)
            }
        };
        assert_eq!((payment.state, payment.version), expected, "{answers:?}");
        assert_eq!(one.points().await, (1_000, 0, 0), "nothing is held either way: {answers:?}");
    }
    shop.check_events().await;
}

#[tokio::test]
async fn two_first_gifts_to_a_buyer_both_count_and_one_asked_for_twice_counts_once() {
    let shop = replicas("wallet").await;
    let grant = |key| {
        let body = GrantPoints { buyer: ada(), points: 10, reason: "hi".to_owned() };
        Command::GrantPoints(Once::new(request(key), body))
    };
    assert_eq!(shop.race("wallet", [grant(1), grant(2)]).await, [Ok(Answer::Wallet), Ok(Answer::Wallet)]);
    assert_eq!(shop.one.points().await, (20, 0, 0));

    let twice = join_all([shop.one.ask(grant(3)), shop.two.ask(grant(3))]).await;
    assert_eq!((twice, shop.two.points().await), (vec![Ok(Answer::Wallet); 2], (30, 0, 0)));

    // One key for gifts to two buyers: their wallets do not meet, the records do.
    let bob = GrantPoints { buyer: BuyerId::new("bob").unwrap(), points: 10, reason: "hi".to_owned() };
    let bob = Command::GrantPoints(Once::new(request(4), bob));
    assert_eq!(reasons(&shop.race("idempotency", [grant(4), bob]).await), [Reason::RequestIdReused]);
    let granted = "select cast(sum(available) as bigint), cast(-sum(issued) as bigint) from wallet";
    assert_eq!(shop.one.numbers(granted).await, [40, 40]);
}

#[tokio::test]
async fn a_coupon_is_issued_once_and_used_once() {
    let shop = replicas("coupon").await;
    let issue = |key| {
        let (code, discount) = (CouponCode::new("TEN").unwrap(), eur(1_000));
        let body = IssueCoupon { buyer: ada(), code, discount, minimum: 0, expires_at: None };
        Command::IssueCoupon(Once::new(request(key), body))
    };
    assert_eq!(reasons(&shop.race("coupon", [issue(1), issue(2)]).await), [Reason::AlreadyExists]);

    let asked = (0..16).map(|n| {
        let office = if n % 2 == 0 { &shop.one } else { &shop.two };
        office.ask(authorize(n, 0, true))
    });
    let answers = join_all(asked).await;
    assert_eq!(reasons(&answers), vec![Reason::CouponUnavailable; 15]);
    let (_, coupons) = shop.one.reader.wallet(&ada()).await.unwrap();
    let winner = answers.iter().position(Result::is_ok).map(|n| order(u128::try_from(n).unwrap()));
    assert_eq!((coupons.len(), coupons[0].payment_id), (1, winner));
    shop.check_events().await;
}

#[tokio::test]
async fn points_serve_as_many_as_they_can_whoever_asks_where() {
    let shop = replicas("points").await;
    let one = open(&shop.place).await.with_wallet().await;
    let asked = (0..64).map(|n| {
        let office = if n % 2 == 0 { &shop.one } else { &shop.two };
        office.ask(authorize(n, 300, false))
    });
    let answers = join_all(asked).await;
    assert_eq!(reasons(&answers), vec![Reason::InsufficientPoints; 61], "1,000 points serve three");
    assert_eq!(one.points().await, (100, 900, 0));

    // Each of the three is decided against here and there at once, and gives back what it held once.
    let held = || (0..64).filter(|n| answers[usize::try_from(*n).unwrap()].is_ok());
    join_all(held().map(|n| shop.one.ask(void(n))).chain(held().map(|n| shop.two.ask(void(n))))).await;
    assert_eq!(one.points().await, (1_000, 0, 0));
    shop.check_events().await;
}

#[tokio::test]
async fn of_refunds_that_are_together_too_much_one_wins_whoever_asks_where() {
    let shop = replicas("refunds").await;
    shop.one.ask(authorize(1, 0, false)).await.unwrap();
    shop.two.ask(settle(1, Outcome::Authorized(String::new()))).await.unwrap();
    shop.one.ask(Command::Capture(order(1))).await.unwrap();
    join_all([shop.one.ask(settle(1, Outcome::Captured)), shop.two.ask(settle(1, Outcome::Captured))]).await;
    let asked = (0..32).map(|key| {
        let office = if key % 2 == 0 { &shop.one } else { &shop.two };
        office.ask(refund(1, 100 + key, 3_000))
    });
    let answers = join_all(asked).await;
    assert_eq!(reasons(&answers), vec![Reason::InvalidRequest; 31]);
    let payment = shop.two.reader.payment(order(1)).await.unwrap().unwrap();
    assert_eq!((payment.state, payment.claimed.total(), payment.version), (State::Captured, 3_000, 5));
    shop.check_events().await;
}

#[tokio::test]
async fn what_waits_for_the_provider_is_shared_out_and_given_to_another_when_a_claim_lapses() {
    let shop = replicas("claims").await;
    for n in 1..=40 {
        shop.one.ask(authorize(n, 0, false)).await.unwrap();
    }
    let (none, hour) = (Duration::ZERO, Duration::from_secs(3_600));
    let (one, two) = tokio::join!(shop.one.reader.take_up(none, hour, 100), shop.two.reader.take_up(none, hour, 100));
    let (one, two) = (one.unwrap(), two.unwrap());
    let mut both: Vec<_> = one.iter().chain(&two).map(|(payment_id, _)| payment_id.uuid().as_u128()).collect();
    both.sort_unstable();
    assert_eq!(both, (1..=40).collect::<Vec<_>>(), "each of them by one: {one:?}, {two:?}");

    // What is new is taken up at once; what a settler that died had taken up, when its claim is over.
    shop.one.ask(authorize(41, 0, false)).await.unwrap();
    let mine = shop.one.reader.take_up(none, Duration::from_millis(1), 100).await.unwrap();
    assert_eq!(mine, [(order(41), None)]);
    let again = async {
        loop {
            let taken = shop.two.reader.take_up(none, hour, 100).await.unwrap();
            if !taken.is_empty() {
                return taken;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), again).await.unwrap(), mine);
}
