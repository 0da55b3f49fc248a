//! The store suite: what payments promise, asked of each backend. Written once.

use futures_util::future::join_all;
use spillway_types::{CouponCode, Money, Reason};
use sqlx::Row;

use super::*;
use crate::{
    domain::{
        Outcome, Shares,
        command::{Authorize, GrantPoints, IssueCoupon, Refunding, Void},
    },
    tests::Place,
};

mod replicas;

const LIMITS: Limits = Limits { batch_max: 64, queue_max: 1_024 };

struct Office {
    committer: Committer<Till>,
    reader: Arc<dyn Reader>,
    database: Database,
}

async fn open(place: &Place) -> Office {
    let (database, committer, reader) = super::open(&place.config.database, LIMITS, &place.resources).await.unwrap();
    Office { committer, reader, database }
}

impl Office {
    async fn ask(&self, command: Command) -> Result<Answer, Fault> {
        self.committer.submit(command).await.unwrap()
    }

    async fn ask_32_times(&self, command: Command) -> Result<Answer, Fault> {
        let answers = join_all(std::iter::repeat_n(command, 32).map(|command| self.ask(command))).await;
        // Whether it was the first to come is the one thing that may differ.
        let same = |one: &Result<Answer, Fault>| match (one, &answers[0]) {
            (Ok(Answer::Open { task, .. }), Ok(Answer::Open { task: first, .. })) => task == first,
            (one, first) => one == first,
        };
        assert!(answers.iter().all(same), "{answers:?}");
        answers.into_iter().next().unwrap()
    }

    async fn with_wallet(self) -> Self {
        let grant = GrantPoints { buyer: ada(), points: 1_000, reason: "welcome".to_owned() };
        self.ask_32_times(Command::GrantPoints(Once::new(request(900), grant))).await.unwrap();
        let (code, discount) = (CouponCode::new("TEN").unwrap(), eur(1_000));
        let issue = IssueCoupon { buyer: ada(), code, discount, minimum: 0, expires_at: None };
        self.ask_32_times(Command::IssueCoupon(Once::new(request(901), issue))).await.unwrap();
        self
    }

    /// Available, held and spent points of Ada, from the balances; the journal must agree.
    async fn points(&self) -> (i64, i64, i64) {
        let (wallet, _) = self.reader.wallet(&ada()).await.unwrap();
        let sums = "select cast(coalesce(sum(points) filter (where account = 'points:available'), 0) as bigint),
                           cast(coalesce(sum(points) filter (where account = 'points:held'), 0) as bigint),
                           cast(coalesce(sum(points) filter (where account = 'points:spent'), 0) as bigint)
                      from wallet_entry where buyer_id = 'ada'";
        let journal = self.numbers(sums).await;
        assert_eq!(
            journal,
            [wallet.available, wallet.held, wallet.spent],
            "I17: balances are the sums of their entries"
        );
        let unsound = "select (select count(*) from (select 1 from wallet_entry group by buyer_id, transfer_id
                                                      having sum(points) <> 0 or count(*) <> 2) t),
                              (select count(*) from wallet where available + held + issued + spent <> 0)";
        assert_eq!(self.numbers(unsound).await, [0, 0], "I17: every transfer and every wallet sums to zero");
        (wallet.available, wallet.held, wallet.spent)
    }

    /// The whole numbers in the one row of a query.
    async fn numbers(&self, sql: &'static str) -> Vec<i64> {
        match &self.database {
            Database::Sqlite(file) => {
                let row = sqlx::query(sql).fetch_one(file.readers()).await.unwrap();
                (0..row.len()).map(|column| row.get(column)).collect()
            }
            Database::Postgres(server) => {
                let row = sqlx::query(sql).fetch_one(server.readers()).await.unwrap();
                (0..row.len()).map(|column| row.get(column)).collect()
            }
        }
    }

    /// Numbers and states of the events about a payment.
    async fn events(&self, n: u128) -> Vec<(i64, String)> {
        let sql = "select sequence, payload from outbox where topic = $1 and key = $2 order by position";
        let key = order(n).to_string();
        let told: Vec<(i64, String)> = match &self.database {
            Database::Sqlite(file) => {
                sqlx::query_as(sql).bind(TOPIC_PAYMENT).bind(key).fetch_all(file.readers()).await.unwrap()
            }
            Database::Postgres(server) => {
                sqlx::query_as(sql).bind(TOPIC_PAYMENT).bind(key).fetch_all(server.readers()).await.unwrap()
            }
        };
        let state = |payload: String| {
            let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
            payload["state"].as_str().unwrap().to_owned()
        };
        told.into_iter().map(|(sequence, payload)| (sequence, state(payload))).collect()
    }

    async fn state(&self, n: u128) -> State {
        self.reader.payment(order(n)).await.unwrap().unwrap().state
    }
}

fn order(n: u128) -> OrderId {
    OrderId::new(uuid::Uuid::from_u128(n))
}

fn request(n: u128) -> RequestId {
    RequestId::new(uuid::Uuid::from_u128(n))
}

fn ada() -> BuyerId {
    BuyerId::new("ada").unwrap()
}

fn eur(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().unwrap())
}

/// An order of 50.00, paid with the coupon of 10.00, points, and a card for the rest.
fn authorize(n: u128, points: i64, coupon: bool) -> Command {
    Command::authorize(Authorize {
        payment_id: order(n),
        buyer: ada(),
        amount: eur(5_000),
        coupon: coupon.then(|| CouponCode::new("TEN").unwrap()),
        points,
        instrument: "card".to_owned(),
        expected_total: None,
        instrument_problem: None,
    })
}

fn void(n: u128) -> Command {
    Command::Void(Void { payment_id: order(n), reason: "changed my mind".to_owned(), only_if_unpaid: false })
}

fn refund(n: u128, key: u128, amount: i64) -> Command {
    let body = Refunding { payment_id: order(n), amount: eur(amount), reason: String::new() };
    Command::Refund(Once::new(request(key), body))
}

fn settle(n: u128, outcome: Outcome) -> Command {
    Command::Settle { payment_id: order(n), outcome }
}

#[tokio::test]
async fn the_same_key_has_one_effect_from_32_callers_and_after_a_restart() {
    for place in Place::both("keys").await {
        let office = open(&place).await.with_wallet().await;
        office.ask_32_times(authorize(1, 600, true)).await.unwrap();
        office.ask_32_times(settle(1, Outcome::Authorized("ref".to_owned()))).await.unwrap();
        let authorized = office.ask_32_times(authorize(1, 600, true)).await;
        let refused = office.ask_32_times(authorize(2, 600, false)).await;
        assert_eq!(refused.as_ref().unwrap_err().reason, Reason::InsufficientPoints);
        assert_eq!(office.points().await, (400, 600, 0));

        drop(office);
        let office = open(&place).await;
        assert_eq!(office.ask(authorize(1, 600, true)).await, authorized, "the answer survives a restart");
        assert_eq!(office.ask(authorize(2, 600, false)).await, refused, "and so does a refusal");
        assert_eq!(office.ask(authorize(1, 601, true)).await.unwrap_err().reason, Reason::RequestIdReused);

        office.ask_32_times(Command::Capture(order(1))).await.unwrap();
        office.ask_32_times(settle(1, Outcome::Captured)).await.unwrap();
        assert_eq!((office.points().await, office.state(1).await), ((400, 0, 600), State::Captured));
        office.ask_32_times(refund(1, 10, 3_700)).await.unwrap();
        office.ask_32_times(settle(1, Outcome::Refunded(request(10)))).await.unwrap();
        let payment = office.reader.payment(order(1)).await.unwrap().unwrap();
        assert_eq!(
            (payment.state, payment.refunded),
            (State::PartiallyRefunded, Shares { points: 300, method: 3_400 })
        );
        let too_much = office.ask_32_times(refund(1, 11, 301)).await;
        assert_eq!(too_much.as_ref().unwrap_err().reason, Reason::InvalidRequest);

        drop(office);
        let office = open(&place).await;
        assert_eq!(office.ask(refund(1, 10, 3_700)).await, Ok(Answer::Payment(Box::new(payment))));
        assert_eq!(office.ask(refund(1, 11, 301)).await, too_much);
        assert_eq!(office.ask(refund(1, 10, 1)).await.unwrap_err().reason, Reason::RequestIdReused);
        assert_eq!(office.points().await, (700, 0, 300));
    }
}

#[tokio::test]
async fn a_compensation_is_taken_before_after_and_twice() {
    for place in Place::both("void").await {
        let office = open(&place).await.with_wallet().await;
        let tombstone = office.ask_32_times(void(1)).await.unwrap();
        assert!(matches!(tombstone, Answer::Payment(payment) if payment.version == 0));
        let late = office.ask_32_times(authorize(1, 100, true)).await.unwrap_err();
        assert_eq!(
            (late.reason, office.points().await),
            (Reason::Cancelled, (1_000, 0, 0)),
            "a late authorise meets it"
        );

        office.ask(authorize(2, 100, true)).await.unwrap();
        office.ask_32_times(void(2)).await.unwrap();
        office.ask_32_times(settle(2, Outcome::Voided)).await.unwrap();
        assert_eq!((office.points().await, office.state(2).await), ((1_000, 0, 0), State::Voided));

        office.ask(authorize(3, 100, true)).await.unwrap();
        office.ask(settle(3, Outcome::Authorized(String::new()))).await.unwrap();
        office.ask(Command::Capture(order(3))).await.unwrap();
        office.ask(settle(3, Outcome::Captured)).await.unwrap();
        let past = office.ask_32_times(void(3)).await.unwrap();
        assert!(matches!(past, Answer::Payment(payment) if payment.state == State::Captured), "past the pivot");
    }
}

#[tokio::test]
async fn one_coupon_and_one_purse_serve_as_many_of_a_batch_as_they_can() {
    for place in Place::both("purse").await {
        let office = open(&place).await.with_wallet().await;
        let answers = join_all((0..32).map(|n| office.ask(authorize(n, 300, n % 2 == 0)))).await;
        let reason = |answer: &Result<Answer, Fault>| answer.as_ref().err().map(|fault| fault.reason);
        let count = |reason_: Option<Reason>| answers.iter().filter(|answer| reason(answer) == reason_).count();
        // 1,000 points serve three; 15 of 16 find the coupon taken.
        assert_eq!((count(None), count(Some(Reason::CouponUnavailable))), (3, 15));
        assert_eq!((count(Some(Reason::InsufficientPoints)), office.points().await), (14, (100, 900, 0)));
    }
}

#[tokio::test]
async fn the_first_of_32_refunds_of_most_of_it_wins() {
    for place in Place::both("refunds").await {
        let office = open(&place).await;
        office.ask(authorize(1, 0, false)).await.unwrap();
        office.ask(settle(1, Outcome::Authorized(String::new()))).await.unwrap();
        office.ask(Command::Capture(order(1))).await.unwrap();
        office.ask(settle(1, Outcome::Captured)).await.unwrap();
        let answers = join_all((0..32).map(|key| office.ask(refund(1, 100 + key, 3_000)))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        let payment = office.reader.payment(order(1)).await.unwrap().unwrap();
        assert_eq!((payment.claimed.total(), payment.refunded.total()), (3_000, 0));
    }
}

#[tokio::test]
async fn every_change_has_one_event_in_order() {
    for place in Place::both("events").await {
        let office = open(&place).await.with_wallet().await;
        office.ask(authorize(1, 100, true)).await.unwrap();
        office.ask(settle(1, Outcome::Authorized(String::new()))).await.unwrap();
        office.ask(void(1)).await.unwrap();
        office.ask(settle(1, Outcome::Voided)).await.unwrap();
        // Neither a tombstone nor a refusal is a change of anything.
        office.ask(void(2)).await.unwrap();
        office.ask(authorize(3, 9_999_999, false)).await.unwrap_err();
        let expected = [(1, "AUTHORIZING"), (2, "AUTHORIZED"), (3, "VOIDING"), (4, "VOIDED")];
        assert_eq!(office.events(1).await, expected.map(|(sequence, state)| (sequence, state.to_owned())));
    }
}

#[tokio::test]
async fn lists_go_on_where_they_stopped_and_open_payments_are_found() {
    for place in Place::both("lists").await {
        let office = open(&place).await;
        for n in 1..=5 {
            office.ask(authorize(n, 0, false)).await.unwrap();
        }
        office.ask(settle(2, Outcome::Authorized(String::new()))).await.unwrap();
        let ids = |payments: Vec<Payment>| payments.iter().map(|p| p.payment_id.uuid().as_u128()).collect::<Vec<_>>();
        let page = office.reader.payments(&[], None, 2).await.unwrap();
        let cursor = page.last().map(|last| (last.created_at, last.payment_id));
        assert_eq!(ids(page), [5, 4]);
        assert_eq!(ids(office.reader.payments(&[State::Authorizing], cursor, 9).await.unwrap()), [3, 1]);
        let (hour, none) = (Duration::from_secs(3_600), Vec::<Unsettled>::new());
        assert_eq!(office.reader.take_up(hour, hour, 9).await.unwrap(), none, "too young");
        assert_eq!(
            office.reader.take_up(Duration::ZERO, hour, 9).await.unwrap(),
            [1, 3, 4, 5].map(|n| (order(n), None))
        );
    }
}
