use spillway_types::{Money, OrderId, RequestId};

use super::*;
use crate::{
    clients::{Leave, ask},
    tests::Place,
};

const PATIENCE: Duration = Duration::from_millis(300);

async fn open(place: &Place) -> Sandbox {
    let limits = Limits { batch_max: 64, queue_max: 1_024 };
    Sandbox::open(&place.config.sandbox_database(), limits, PATIENCE / 10, &place.resources).await.unwrap()
}

fn leave() -> Leave {
    Leave::new(true, tokio::time::Instant::now())
}

fn task(n: u128, ask: Ask, instrument: &str) -> Task {
    let amount = Money::new(1_000, "EUR".parse().unwrap());
    Task { payment_id: OrderId::new(uuid::Uuid::from_u128(n)), ask, amount, instrument: instrument.to_owned() }
}

fn refund(n: u128, key: u128, minor: i64) -> Task {
    let ask = Ask::Refund(RequestId::new(uuid::Uuid::from_u128(key)));
    let task = task(n, ask, "sandbox:approved");
    Task { amount: Money::new(minor, task.amount.currency), ..task }
}

#[tokio::test]
async fn each_instrument_does_what_its_name_says() {
    for place in Place::both("instruments").await {
        let sandbox = open(&place).await;
        for (n, (_, instrument)) in (1..).zip(INSTRUMENTS) {
            assert_eq!(sandbox.check(instrument), Ok(()));
            let authorized = ask(&sandbox, &task(n, Ask::Authorize, instrument), leave(), PATIENCE).await;
            let captured = ask(&sandbox, &task(n, Ask::Capture, instrument), leave(), PATIENCE).await;
            let told = (matches!(authorized, Ok(Outcome::Authorized(_))), matches!(captured, Ok(Outcome::Captured)));
            let expected = match instrument {
                "sandbox:declined" => (false, false),
                "sandbox:capture-declined" => (true, false),
                _ => (true, true),
            };
            assert_eq!(told, expected, "{instrument}: {authorized:?}, {captured:?}");
        }
        let problem = sandbox.check("visa").unwrap_err();
        assert!(INSTRUMENTS.iter().all(|(_, name)| problem.contains(name)), "names the known ones: {problem}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_by_looking_it_up_and_the_effect_is_there_once() {
    for place in Place::both("lost answer").await {
        let sandbox = open(&place).await;
        let asked = task(1, Ask::Authorize, "sandbox:timeout");
        assert_eq!(sandbox.lookup(&asked).await, Ok(None), "never heard of");
        tokio::time::timeout(PATIENCE, sandbox.perform(&asked)).await.unwrap_err();
        assert!(matches!(sandbox.lookup(&asked).await, Ok(Some(Outcome::Authorized(_)))));
        assert!(matches!(sandbox.perform(&asked).await, Ok(Outcome::Authorized(_))), "only the first answer is lost");
    }
}

#[tokio::test]
async fn whatever_is_asked_twice_is_done_once_also_after_a_restart() {
    for place in Place::both("twice").await {
        let sandbox = open(&place).await;
        let way = [
            task(1, Ask::Authorize, "sandbox:approved"),
            task(1, Ask::Capture, "sandbox:approved"),
            refund(1, 7, 600),
            refund(1, 8, 600),
            refund(1, 9, 400),
        ];
        let mut first = Vec::new();
        for task in &way {
            first.push(sandbox.perform(task).await.unwrap());
        }
        assert!(matches!(first[3], Outcome::RefundDeclined(..)), "never more than was captured");
        drop(sandbox);
        let sandbox = open(&place).await;
        for (task, first) in way.iter().zip(&first) {
            assert_eq!(sandbox.perform(task).await.as_ref(), Ok(first));
        }
        let reference = way[0].reference();
        assert_eq!(sandbox.paid_back(&reference).await.unwrap(), 1_000);
        assert_eq!(sandbox.charge(&reference).await.unwrap().unwrap().state, ChargeState::Captured);
    }
}

#[tokio::test]
async fn a_void_that_overtakes_its_authorisation_ends_it() {
    for place in Place::both("overtaking").await {
        let sandbox = open(&place).await;
        assert_eq!(sandbox.perform(&task(1, Ask::Void, "sandbox:approved")).await, Ok(Outcome::Voided));
        let late = sandbox.perform(&task(1, Ask::Authorize, "sandbox:approved")).await;
        assert!(matches!(late, Ok(Outcome::AuthorizationDeclined(_))));
    }
}
