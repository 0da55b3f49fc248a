//! The settler against the sandbox, with crashes and silence in between.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use spillway_storage::{database::Database, group_commit::Limits};
use spillway_types::{BuyerId, Money};
use tokio::sync::RwLock;

use super::*;
use crate::{
    clients::{Silence, sandbox::Sandbox, sandbox::journal::ChargeState},
    domain::{
        Outcome, State,
        command::{Authorize, Once, Refunding, Void},
    },
    store,
    tests::Place,
};

mod replicas;

const PATIENCE: Duration = Duration::from_millis(300);
const LIMITS: Limits = Limits { batch_max: 64, queue_max: 4_096 };

/// The sandbox behind a line that can be cut or held, and that counts what is asked for.
#[derive(Debug)]
struct Line {
    sandbox: Sandbox,
    cut: AtomicBool,
    /// Taken for writing, lets nothing pass.
    held: RwLock<()>,
    performed: AtomicUsize,
}

#[async_trait]
impl Provider for Line {
    fn check(&self, instrument: &str) -> Result<(), String> {
        self.sandbox.check(instrument)
    }

    async fn perform(&self, task: &Task) -> Result<Outcome, Silence> {
        self.performed.fetch_add(1, Ordering::SeqCst);
        let _passing = self.held.read().await;
        match self.cut.load(Ordering::SeqCst) {
            true => Err(Silence("cut".to_owned())),
            false => self.sandbox.perform(task).await,
        }
    }

    async fn lookup(&self, task: &Task) -> Result<Option<Outcome>, Silence> {
        match self.cut.load(Ordering::SeqCst) {
            true => Err(Silence("cut".to_owned())),
            false => self.sandbox.lookup(task).await,
        }
    }
}

struct Office {
    database: Database,
    committer: Committer<Till>,
    reader: Arc<dyn Reader>,
    line: Arc<Line>,
    settler: Settler,
}

async fn open(place: &Place) -> Office {
    let (database, committer, reader) = store::open(&place.config.database, LIMITS, &place.resources).await.unwrap();
    let sandbox =
        Sandbox::open(&place.config.sandbox_database(), LIMITS, PATIENCE / 4, &place.resources).await.unwrap();
    let (cut, held) = (AtomicBool::new(false), RwLock::default());
    let line = Arc::new(Line { sandbox, cut, held, performed: AtomicUsize::new(0) });
    let settler = Settler::new(committer.clone(), Arc::clone(&line) as Arc<dyn Provider>, PATIENCE);
    Office { database, committer, reader, line, settler }
}

impl Office {
    /// What the sweeper does when it finds nothing too young.
    async fn recover(&self) {
        self.settler.pass(&*self.reader, Duration::ZERO, &CancellationToken::new()).await;
    }

    fn performed(&self) -> usize {
        self.line.performed.load(Ordering::SeqCst)
    }

    async fn state(&self, n: u128) -> State {
        self.reader.payment(order(n)).await.unwrap().unwrap().state
    }

    async fn charge(&self, n: u128) -> Option<ChargeState> {
        self.line.sandbox.charge(&order(n).to_string()).await.unwrap().map(|charge| charge.state)
    }

    async fn told(&self, command: Command) -> String {
        match self.settler.carry_out(command).await {
            Ok(payment) => payment.state.to_string(),
            Err(fault) => fault.reason.to_string(),
        }
    }
}

fn order(n: u128) -> OrderId {
    OrderId::new(uuid::Uuid::from_u128(n))
}

fn eur(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().unwrap())
}

fn authorize(n: u128, instrument: &str) -> Command {
    Command::authorize(Authorize {
        payment_id: order(n),
        buyer: BuyerId::new("ada").unwrap(),
        amount: eur(5_000),
        coupon: None,
        points: 0,
        instrument: instrument.to_owned(),
        expected_total: None,
        instrument_problem: None,
    })
}

fn capture(n: u128) -> Command {
    Command::Capture(order(n))
}

fn void(n: u128) -> Command {
    Command::Void(Void { payment_id: order(n), reason: "changed my mind".to_owned(), only_if_unpaid: false })
}

fn refund(n: u128, key: u128, amount: i64) -> Command {
    let body = Refunding { payment_id: order(n), amount: eur(amount), reason: String::new() };
    Command::Refund(Once::new(RequestId::new(uuid::Uuid::from_u128(key)), body))
}

#[tokio::test]
async fn every_instrument_leads_where_it_says() {
    for place in Place::both("instruments").await {
        let office = open(&place).await;
        for (n, (instrument, authorized, captured, voided)) in (1..).zip([
            ("sandbox:approved", "AUTHORIZED", "CAPTURED", "CAPTURED"),
            ("sandbox:declined", "PAYMENT_DECLINED", "PAYMENT_DECLINED", "DECLINED"),
            ("sandbox:capture-declined", "AUTHORIZED", "PAYMENT_DECLINED", "VOIDED"),
            ("sandbox:timeout", "AUTHORIZED", "CAPTURED", "CAPTURED"),
            ("sandbox:slow", "AUTHORIZED", "CAPTURED", "CAPTURED"),
        ]) {
            let told = [authorize(n, instrument), capture(n), void(n)].map(|command| office.told(command));
            let [first, second, third] = told;
            let told = (first.await, second.await, third.await);
            assert_eq!(told, (authorized.to_owned(), captured.to_owned(), voided.to_owned()), "{instrument}");
        }
    }
}

#[tokio::test]
async fn of_32_callers_one_asks_the_provider_and_all_hear_the_answer() {
    for place in Place::both("callers").await {
        let office = open(&place).await;
        for (command, expected) in
            [(authorize(1, "sandbox:slow"), "AUTHORIZED"), (capture(1), "CAPTURED"), (refund(1, 9, 5_000), "REFUNDED")]
        {
            let before = office.performed();
            let told = join_all((0..32).map(|_| office.told(command.clone()))).await;
            assert!(told.iter().all(|told| told == expected), "{told:?}");
            assert_eq!(office.performed() - before, 1, "{command:?}");
        }
    }
}

#[tokio::test]
async fn a_crash_between_intent_and_result_charges_once() {
    let authorized = || vec![authorize(1, "sandbox:approved")];
    let captured = || vec![authorize(1, "sandbox:approved"), capture(1)];
    for (before, last, state, charge, paid_back) in [
        (vec![], authorize(1, "sandbox:approved"), State::Authorized, ChargeState::Authorized, 0),
        (authorized(), capture(1), State::Captured, ChargeState::Captured, 0),
        (authorized(), void(1), State::Voided, ChargeState::Voided, 0),
        (captured(), refund(1, 9, 3_000), State::PartiallyRefunded, ChargeState::Captured, 3_000),
    ] {
        // The provider has done it and its answer was never written down, or it has never heard of it.
        for heard in [true, false] {
            for place in Place::both("crash").await {
                let office = open(&place).await;
                for command in &before {
                    office.settler.carry_out(command.clone()).await.unwrap();
                }
                let Ok(Answer::Open { task, .. }) = office.committer.submit(last.clone()).await.unwrap() else {
                    panic!("{last:?} needs the provider")
                };
                if heard {
                    office.line.perform(&task).await.unwrap();
                }
                drop(office);

                let office = open(&place).await;
                office.recover().await;
                assert_eq!((office.state(1).await, office.charge(1).await), (state, Some(charge)), "{last:?}, {heard}");
                let again = office.settler.carry_out(last.clone()).await.unwrap();
                assert_eq!(again.state, state, "a repeat hears the same");
                let reference = order(1).to_string();
                assert_eq!(office.line.sandbox.paid_back(&reference).await.unwrap(), paid_back);
                assert_eq!(office.performed(), usize::from(!heard), "looked up before asked");
            }
        }
    }
}

#[tokio::test]
async fn a_silent_provider_leaves_the_outcome_unknown_until_it_speaks() {
    for place in Place::both("silence").await {
        let office = open(&place).await;
        office.told(authorize(1, "sandbox:approved")).await;
        office.line.cut.store(true, Ordering::SeqCst);
        assert_eq!(office.told(capture(1)).await, "OUTCOME_UNKNOWN");
        assert_eq!(office.told(void(1)).await, "OUTCOME_UNKNOWN", "nobody but the provider can tell");
        assert_eq!(office.state(1).await, State::Capturing);
        office.line.cut.store(false, Ordering::SeqCst);
        assert_eq!(office.told(void(1)).await, "CAPTURED", "the void settles it, and comes too late");
        assert_eq!(office.told(capture(1)).await, "CAPTURED");
    }
}

#[tokio::test]
async fn a_void_during_an_authorisation_wins_and_undoes_it() {
    for place in Place::both("void").await {
        let office = open(&place).await;
        let (authorized, voided) = tokio::join!(office.told(authorize(1, "sandbox:slow")), async {
            while office.reader.payment(order(1)).await.unwrap().is_none() {
                tokio::task::yield_now().await;
            }
            office.told(void(1)).await
        });
        assert_eq!((authorized.as_str(), voided.as_str()), ("CANCELLED", "VOIDED"));
        assert_eq!(office.charge(1).await, Some(ChargeState::Voided));
        assert_eq!(office.told(authorize(1, "sandbox:slow")).await, "CANCELLED");
    }
}

#[tokio::test]
async fn of_32_refunds_of_most_of_it_one_wins() {
    for place in Place::both("refunds").await {
        let office = open(&place).await;
        office.told(authorize(1, "sandbox:approved")).await;
        office.told(capture(1)).await;
        let told = join_all((0..32).map(|key| office.told(refund(1, 100 + key, 3_000)))).await;
        let won = told.iter().filter(|told| *told == "PARTIALLY_REFUNDED").count();
        let lost = told.iter().filter(|told| *told == "INVALID_REQUEST").count();
        assert_eq!((won, lost), (1, 31), "{told:?}");
        assert_eq!(office.line.sandbox.paid_back(&order(1).to_string()).await.unwrap(), 3_000);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_stops_nothing() {
    for place in Place::both("leaving").await {
        let office = open(&place).await;
        let impatient = tokio::time::timeout(PATIENCE / 30, office.told(authorize(1, "sandbox:slow"))).await;
        assert!(impatient.is_err());
        let settled = async {
            while office
                .reader
                .payment(order(1))
                .await
                .unwrap()
                .is_none_or(|payment| payment.state != State::Authorized)
            {
                tokio::time::sleep(PATIENCE / 30).await;
            }
        };
        tokio::time::timeout(PATIENCE * 10, settled).await.unwrap();
        assert_eq!(office.performed(), 1);
    }
}
