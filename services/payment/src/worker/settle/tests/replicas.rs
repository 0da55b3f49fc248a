//! Settlers of several replicas, with one provider and one database: nothing is charged twice, whoever is asked, whoever
//! dies, and whoever stands still.

use sqlx::AssertSqlSafe;

use super::*;

/// Sessions of the database that hold a transaction open, but for the one that counts them.
const HOLDING: &str = "select count(*) from pg_stat_activity
                        where datname = current_database() and backend_type = 'client backend'
                          and pid <> pg_backend_pid() and xact_start is not null";

async fn counted(office: &Office, sql: &str) -> i64 {
    let Database::Postgres(server) = &office.database else { panic!("no Postgres") };
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(server.readers()).await.unwrap()
}

/// Waits until a payment is in a state.
async fn until(office: &Office, n: u128, state: State) {
    let reached = async {
        while office.reader.payment(order(n)).await.unwrap().is_none_or(|payment| payment.state != state) {
            tokio::time::sleep(PATIENCE / 30).await;
        }
    };
    tokio::time::timeout(PATIENCE * 30, reached).await.unwrap_or_else(|_| panic!("{n} is not {state}"));
}

#[tokio::test]
async fn callers_of_two_replicas_are_charged_once_and_hear_the_same() {
    let place = Place::postgres("two callers").await;
    let (one, two) = (open(&place).await, open(&place).await);
    for (command, expected) in [
        (authorize(1, "sandbox:slow"), "AUTHORIZED"),
        (capture(1), "CAPTURED"),
        (refund(1, 9, 3_000), "PARTIALLY_REFUNDED"),
        (authorize(2, "sandbox:timeout"), "AUTHORIZED"),
        (void(2), "VOIDED"),
    ] {
        let before = one.performed() + two.performed();
        let told = join_all((0..32).map(|n| if n % 2 == 0 { &one } else { &two }.told(command.clone()))).await;
        assert!(told.iter().all(|told| told == expected), "{command:?}: {told:?}");
        let flights = one.performed() + two.performed() - before;
        assert!((1..=2).contains(&flights), "at most one flight a replica: {flights} for {command:?}");
    }
    assert_eq!((one.charge(1).await, two.charge(2).await), (Some(ChargeState::Captured), Some(ChargeState::Voided)));
    assert_eq!(two.line.sandbox.paid_back(&order(1).to_string()).await.unwrap(), 3_000);
}

#[tokio::test]
async fn an_authorisation_here_and_its_void_there_end_voided() {
    let place = Place::postgres("void elsewhere").await;
    let (one, two) = (open(&place).await, open(&place).await);
    for n in 1..=8 {
        let (authorized, voided) = tokio::join!(one.told(authorize(n, "sandbox:slow")), two.told(void(n)));
        // On a busy machine the void may come when all is held already.
        assert!(["CANCELLED", "AUTHORIZED"].contains(&authorized.as_str()), "{n}: {authorized}");
        assert_eq!((voided.as_str(), one.state(n).await), ("VOIDED", State::Voided), "{n}");
        let held = one.charge(n).await;
        assert!(!matches!(held, Some(ChargeState::Authorized | ChargeState::Captured)), "{n}: {held:?}");
    }
}

#[tokio::test]
async fn settlers_share_what_a_crash_left_open() {
    const LEFT: usize = 60;
    let place = Place::postgres("share").await;
    let crashed = open(&place).await;
    for n in 1..=u128::try_from(LEFT).unwrap() {
        crashed.committer.submit(authorize(n, "sandbox:approved")).await.unwrap().unwrap();
    }
    drop(crashed);
    let (one, two) = (open(&place).await, open(&place).await);
    tokio::join!(one.recover(), two.recover());
    assert_eq!(counted(&one, "select count(*) from payment where state <> 'AUTHORIZED'").await, 0);
    assert_eq!(one.performed() + two.performed(), LEFT, "each was asked for once");
}

#[tokio::test]
async fn a_settler_that_stood_still_before_its_call_finds_all_settled_and_spoils_nothing() {
    let place = Place::postgres("frozen").await;
    let (frozen, other) = (open(&place).await, open(&place).await);
    for (command, state, after) in [
        (authorize(1, "sandbox:approved"), State::Authorized, ChargeState::Authorized),
        (capture(1), State::Captured, ChargeState::Captured),
        (refund(1, 9, 3_000), State::PartiallyRefunded, ChargeState::Captured),
    ] {
        let standstill = frozen.line.held.write().await;
        let (told, ()) = tokio::join!(frozen.told(command.clone()), async {
            while frozen.performed() == 0 {
                tokio::task::yield_now().await;
            }
            // Nobody knows whether the first one lives; the row says what to find out.
            other.recover().await;
            until(&other, 1, state).await;
            drop(standstill);
        });
        frozen.line.performed.store(0, Ordering::SeqCst);
        assert_eq!(told, state.to_string(), "{command:?}: it hears what has happened");
        assert_eq!((other.state(1).await, other.charge(1).await), (state, Some(after)), "{command:?}");
    }
    assert_eq!(other.line.sandbox.paid_back(&order(1).to_string()).await.unwrap(), 3_000);
    let notes = counted(&other, "select count(*) from outbox").await;
    assert_eq!(notes, 6, "each answer is noted once");
}

#[tokio::test]
async fn nothing_is_held_at_the_database_while_the_provider_thinks() {
    let place = Place::postgres("held").await;
    let office = open(&place).await;
    let thinking = office.line.held.write().await;
    let asked = join_all((1..=100).map(|n| office.told(authorize(n, "sandbox:approved"))));
    let (told, ()) = tokio::join!(asked, async {
        while office.performed() < 100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counted(&office, HOLDING).await, 0, "a hundred calls wait for the provider");
        // All the others go on: the writer writes, readers read.
        office.committer.submit(void(1_000)).await.unwrap().unwrap();
        assert_eq!(office.state(1_000).await, State::Voided);
        drop(thinking);
    });
    assert!(told.iter().all(|told| told == "AUTHORIZED"), "{told:?}");
}
