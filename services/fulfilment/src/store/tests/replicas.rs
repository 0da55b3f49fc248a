//! Two replicas on one database: whoever comes second sees what the first has done.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use spillway_testkit::servers::Postgres;
use sqlx::{ConnectOptions, PgConnection};

use super::*;
use crate::worker::open_default_warehouse;

/// How long anything here may take; far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Orders of a race: enough that the replicas' batches overlap again and again.
const ORDERS: usize = 60;

/// Two replicas that take few commands at a time, so that they meet often; and a warehouse `a` that keeps `TEE`.
async fn pair(place: &Place) -> [House; 2] {
    let pair = [place.house_with_batches_of(4).await, place.house_with_batches_of(4).await];
    pair[0].ask(create("a", "TEE", 0)).await.unwrap();
    pair
}

/// A connection that is not fulfilment's, and so under none of its limits.
async fn rival(house: &House) -> PgConnection {
    let Database::Postgres(server) = &house.database else { panic!("replicas share a server") };
    server.options().connect().await.unwrap()
}

async fn execute(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Waits until a writer waits for somebody else's row.
async fn until_one_waits(house: &House) {
    let waiting = async {
        while house
            .count(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
            .await
            == 0
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

fn conflicts(pair: &[House; 2]) -> u64 {
    pair.iter().map(|house| house.totals().conflicts).sum()
}

/// What holds whatever the replicas did: loads are live parcels, and every change has its number.
async fn books_are_right(house: &House) {
    let live = house.count("select count(*) from shipment where state <> 'CANCELLED'").await;
    assert_eq!(house.load().await, live, "loads and live parcels");
    let changes = house.count("select count(*) from plan_change").await;
    assert_eq!(house.count("select coalesce(sum(version), 0) from shipment_plan").await, changes, "a row a version");
    assert_eq!(house.count("select count(*) from outbox").await, changes, "an event a change");
}

#[tokio::test]
async fn a_plan_whose_key_another_replica_is_just_taking_is_decided_again() {
    let place = Place::postgres().await;
    let [house, _] = pair(&place).await;
    let order_id = order();
    let mut rival = rival(&house).await;
    execute(&mut rival, "begin").await;
    sqlx::query(
        "insert into shipment_plan (order_id, state, parcels, explanation, cancel_reason, version, created_at, updated_at)
         values ($1, 'CANCELLED', 0, '', 'it came first', 0, 1, 1)",
    )
    .bind(order_id.uuid())
    .execute(&mut rival)
    .await
    .unwrap();
    let (answer, ()) = tokio::join!(house.ask(plan(order_id, &["TEE"])), async {
        until_one_waits(&house).await;
        execute(&mut rival, "commit").await;
    });
    assert_eq!(answer.unwrap_err().reason, Reason::Cancelled);
    assert_eq!(house.totals().conflicts, 1, "{:?}", house.totals());
    assert_eq!(house.load().await, 0, "the first decision left nothing behind");
    books_are_right(&house).await;
}

#[tokio::test]
async fn room_that_another_replica_is_just_taking_is_not_given_away_twice() {
    let place = Place::postgres().await;
    let [house, _] = pair(&place).await;
    house.ask(create("b", "MUG", 2)).await.unwrap();
    house.ask(plan(order(), &["MUG"])).await.unwrap();
    let mut rival = rival(&house).await;
    execute(&mut rival, "begin; update warehouse_load set parcels = 2").await;
    let (answer, ()) = tokio::join!(house.ask(plan(order(), &["MUG"])), async {
        until_one_waits(&house).await;
        execute(&mut rival, "commit").await;
    });
    assert_eq!(answer.unwrap_err().reason, Reason::Unshippable);
    assert_eq!(house.totals().conflicts, 0, "a row that is there is waited for");
}

#[tokio::test]
async fn an_order_that_is_planned_at_two_replicas_has_one_plan() {
    let place = Place::postgres().await;
    let pair = pair(&place).await;
    let orders: Vec<OrderId> = (0..ORDERS).map(|_| order()).collect();
    let plans: Vec<Command> = orders.iter().map(|order_id| plan(*order_id, &["TEE"])).collect();
    let all_at = |house| join_all(plans.iter().map(move |plan| House::ask(house, plan.clone())));
    let (here, there) = tokio::join!(all_at(&pair[0]), all_at(&pair[1]));
    println!("{} conflicts", conflicts(&pair));
    assert_eq!(here, there);
    assert!(here.iter().all(Result::is_ok), "{here:?}");
    assert_eq!(pair[0].load().await, i64::try_from(ORDERS).unwrap());
    books_are_right(&pair[0]).await;
}

#[tokio::test]
async fn replicas_share_the_capacity_of_a_day() {
    let place = Place::postgres().await;
    let pair = pair(&place).await;
    pair[0].ask(create("b", "MUG", 7)).await.unwrap();
    let all_at = |house| join_all((0..ORDERS).map(move |_| House::ask(house, plan(order(), &["MUG"]))));
    let (here, there) = tokio::join!(all_at(&pair[0]), all_at(&pair[1]));
    println!("{} conflicts", conflicts(&pair));
    let planned = here.iter().chain(&there).filter(|answer| answer.is_ok()).count();
    // The database's clock may pass midnight.
    let days = pair[0].count("select count(*) from warehouse_load").await;
    assert_eq!(i64::try_from(planned).unwrap(), 7 * days);
    assert_eq!(pair[0].count("select max(parcels) from warehouse_load").await, 7);
    books_are_right(&pair[1]).await;
}

#[tokio::test]
async fn a_cancellation_at_one_replica_and_a_hand_over_at_the_other_agree_on_the_winner() {
    let place = Place::postgres().await;
    let pair = pair(&place).await;
    let mut cancelled = 0;
    for _ in 0..ORDERS {
        let order_id = order();
        pair[0].ask(plan(order_id, &["TEE"])).await.unwrap();
        let (given_up, picked_up) = tokio::join!(pair[0].ask_plan(cancel(order_id)), async {
            // Refused when the cancellation was first, which is as good.
            drop(pair[1].ask(Command::Dispatch(order_id)).await);
            pair[1].ask(record(order_id, 0, CarrierEvent::PickedUp)).await
        });
        let found = pair[1].ask_plan(cancel(order_id)).await.unwrap();
        let wins = found.plan.state == PlanState::Cancelled;
        assert_eq!(given_up.unwrap().plan.state == PlanState::Cancelled, wins, "{found:?}");
        assert_eq!(picked_up.is_err(), wins, "{picked_up:?} and {found:?}");
        let numbers: Vec<i64> = pair[0].published(order_id).await.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, (1..=found.plan.version).collect::<Vec<_>>());
        cancelled += u32::from(wins);
    }
    println!("{cancelled} of {ORDERS} cancelled, {} conflicts", conflicts(&pair));
    books_are_right(&pair[0]).await;
}

#[tokio::test]
async fn a_key_that_is_used_at_two_replicas_has_one_effect() {
    let place = Place::postgres().await;
    let pair = pair(&place).await;
    let order_id = order();
    pair[0].ask(plan(order_id, &["TEE"])).await.unwrap();
    pair[0].ask(Command::Dispatch(order_id)).await.unwrap();
    for (index, command) in [create("b", "MUG", 0), record(order_id, 0, CarrierEvent::PickedUp)].iter().enumerate() {
        let (here, there) = tokio::join!(pair[0].ask_by_32(command), pair[1].ask_by_32(command));
        assert!(here.is_ok() && here == there, "command {index}: {here:?} and {there:?}");
    }
    assert_eq!(pair[0].count("select count(*) from carrier_report").await, 1);
    books_are_right(&pair[0]).await;
}

#[tokio::test]
async fn replicas_that_start_at_once_open_one_default_warehouse() {
    let place = Place::postgres().await;
    let pair = [place.house().await, place.house().await];
    let opened = pair.iter().map(|house| open_default_warehouse(&house.committer, &*house.reader));
    for opened in join_all(opened).await {
        opened.unwrap();
    }
    assert_eq!(pair[0].reader.warehouses(None, 10).await.unwrap().len(), 1);
}

/// Asks until there is an answer, as a saga does.
async fn insist(house: &House, command: &Command) -> Result<Answer, Fault> {
    loop {
        match house.committer.submit(command.clone()).await {
            Ok(answer) => return answer,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn a_server_that_is_killed_again_and_again_loses_nothing_that_was_answered() {
    let server = Postgres::private().await;
    let place = Place::of(&server.fresh("fulfilment").await);
    let pair = pair(&place).await;
    let orders: Vec<OrderId> = (0..4 * ORDERS).map(|_| order()).collect();
    let (busy, callers) = (AtomicBool::new(true), orders.chunks(ORDERS / 4));
    let callers = callers.enumerate().map(|(index, orders)| {
        let (house, other) = (&pair[index % 2], &pair[(index + 1) % 2]);
        async move {
            for order_id in orders {
                let planned = insist(house, &plan(*order_id, &["TEE"])).await;
                assert!(planned.is_ok(), "{order_id}: {planned:?}");
                assert_eq!(insist(other, &plan(*order_id, &["TEE"])).await, planned, "{order_id}");
                insist(other, &Command::Dispatch(*order_id)).await.unwrap();
            }
        }
    });
    let all = async {
        join_all(callers).await;
        busy.store(false, Ordering::SeqCst);
    };
    let killing = async {
        let mut kills = 0;
        while busy.load(Ordering::SeqCst) {
            server.kill().await;
            server.restart().await;
            kills += 1;
            // Some answers between two kills, or nobody gets anywhere.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        kills
    };
    let ((), kills) = tokio::time::timeout(4 * PATIENCE, async { tokio::join!(all, killing) }).await.unwrap();
    println!("{kills} kills, {:?} and {:?}", pair[0].totals(), pair[1].totals());
    assert!(kills > 0);
    let all = i64::try_from(orders.len()).unwrap();
    assert_eq!(pair[0].count("select count(*) from shipment where state = 'DISPATCHED'").await, all);
    assert_eq!(pair[0].load().await, all);
    books_are_right(&pair[1]).await;
}
