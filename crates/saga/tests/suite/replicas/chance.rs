//! Partitions move at random moments, gently or by force, processes die, callers ask anybody: every saga ends, wholly done
//! or wholly undone, under one owner at a time.

use std::time::Duration;

use proptest::prelude::*;
use spillway_saga::{Engine, Handle, SagaId, Snapshot, StartError, log::CallKind};
use spillway_types::id::Partition;
use tokio::time::{sleep, timeout};

use super::{Fleet, id};
use crate::{
    harness::{asked, check_answer, in_paused_time, order},
    model::{NAMES, Quirk},
};

/// Each runs some virtual minutes within some real milliseconds.
const CASES: u32 = 300;
const PROCESSES: usize = 3;
const PARTITIONS: u8 = 3;
const SAGAS: u8 = 6;
/// Everything happens within this many virtual milliseconds; then all is quiet and has to end.
const STORM_MS: u64 = 3_000;
/// A caller gives up in the end, as one that has a deadline does; then it has been told nothing.
const GIVES_UP_AFTER: Duration = Duration::from_secs(900);

#[derive(Clone, Copy, Debug)]
enum Move {
    /// Its holder stops first.
    HandOver(u8, usize),
    /// Its holder hears of it that many milliseconds later, and goes on until then.
    Seize(u8, usize, u64),
    /// A process dies, and its partitions go to another one.
    Kill(usize, usize),
    /// A saga is cancelled through some process.
    Cancel(u8, usize),
    /// Somebody says that a saga should look again.
    Signal(u8, usize),
}

fn quirk() -> impl Strategy<Value = Quirk> {
    prop_oneof![
        2 => Just(Quirk::Refuse),
        1 => Just(Quirk::Shrug),
        2 => Just(Quirk::LostBefore),
        3 => Just(Quirk::LostAfter),
        2 => Just(Quirk::Hang),
        2 => (0_u64..60_000).prop_map(|ms| Quirk::Late(Duration::from_millis(ms))),
        2 => (0_u64..30_000).prop_map(|ms| Quirk::Down(Duration::from_millis(ms))),
        1 => Just(Quirk::Permanent),
    ]
}

fn step() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..PARTITIONS, 0..PROCESSES).prop_map(|(partition, to)| Move::HandOver(partition, to)),
        3 => (0..PARTITIONS, 0..PROCESSES, 0_u64..400).prop_map(|(partition, to, ms)| Move::Seize(partition, to, ms)),
        1 => (0..PROCESSES, 0..PROCESSES).prop_map(|(dies, heir)| Move::Kill(dies, heir)),
        2 => (0..SAGAS, 0..PROCESSES).prop_map(|(saga, by)| Move::Cancel(saga, by)),
        1 => (0..SAGAS, 0..PROCESSES).prop_map(|(saga, by)| Move::Signal(saga, by)),
    ]
}

fn saga(n: u8) -> SagaId {
    id(Partition(n % PARTITIONS), n)
}

/// Places an order through whoever takes it, as a client behind a balancer does, and says what it was told.
async fn place(engines: Vec<Engine>, id: SagaId) -> Option<std::sync::Arc<Snapshot>> {
    let answered = async {
        for engine in engines.iter().cycle() {
            match engine.start(order(id)).await {
                Ok(mut started) => return started.handle.answer().await,
                Err(StartError::NotOwner | StartError::Draining) => sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{id} could not be placed: {error}"),
            }
        }
        unreachable!("there are engines")
    };
    timeout(GIVES_UP_AFTER, answered).await.ok()
}

async fn carry_out(fleet: &mut Fleet, step: Move) -> Option<Handle> {
    match step {
        Move::HandOver(partition, to) => fleet.hand_over(Partition(partition), to).await,
        Move::Seize(partition, to, after_ms) => {
            let partition = Partition(partition);
            let robbed = fleet.holders.get(&partition).map(|holder| fleet.engines[*holder].clone());
            let is_own = fleet.holders.get(&partition) == Some(&to);
            if let Some(robbed) = robbed.filter(|_| !is_own) {
                fleet.grant(partition, to);
                sleep(Duration::from_millis(after_ms)).await;
                robbed.lose(&[partition]).await;
            }
        }
        Move::Kill(dies, heir) => {
            fleet.replace(dies).await;
            let orphans: Vec<_> =
                fleet.holders.iter().filter(|(_, holder)| **holder == dies).map(|(p, _)| *p).collect();
            for partition in orphans {
                fleet.grant(partition, heir);
            }
        }
        Move::Cancel(n, by) => return fleet.engines[by].turn_back(saga(n), asked()).await.ok(),
        Move::Signal(n, by) => return fleet.engines[by].signal(saga(n)).await.ok(),
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(CASES), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wherever_partitions_go_every_saga_has_one_owner_and_ends(
        arranged in proptest::collection::vec((0..NAMES.len(), prop_oneof![2 => Just(CallKind::Run), 1 => Just(CallKind::Compensate)], quirk()), 0..8),
        moves in proptest::collection::vec((0..STORM_MS / 10, step()), 0..24),
        is_deferred in proptest::bool::weighted(0.2),
        log_latency in (0_u64..20).prop_map(Duration::from_millis),
    ) {
        in_paused_time(async {
            let mut fleet = Fleet::of(PROCESSES);
            fleet.log.slow_down(log_latency);
            if moves.iter().any(|(_, step)| matches!(step, Move::Seize(..))) {
                fleet.world.allow_zombies();
            }
            for (step, kind, quirk) in arranged {
                fleet.world.arrange(step, kind, quirk);
            }
            if is_deferred {
                fleet.world.defer_payment(Duration::from_secs(30));
            }
            for partition in 0..PARTITIONS {
                fleet.grant(Partition(partition), usize::from(partition) % PROCESSES);
            }
            let mut callers = Vec::new();
            for n in 0..SAGAS {
                callers.push((saga(n), tokio::spawn(place(fleet.engines.clone(), saga(n)))));
            }
            let mut told = Vec::new();
            for (pause_ms, step) in moves {
                sleep(Duration::from_millis(pause_ms)).await;
                told.extend(carry_out(&mut fleet, step).await);
            }
            // Those who were killed before they could take an order have come back under new names.
            for n in 0..SAGAS {
                place(fleet.engines.clone(), saga(n)).await;
                fleet.finished(saga(n)).await;
            }
            for (id, caller) in callers {
                let row = fleet.log.row(id).unwrap();
                if let Ok(Some(answer)) = timeout(GIVES_UP_AFTER, caller).await.map(Result::unwrap) {
                    check_answer(&answer, &row);
                }
            }
            for mut handle in told {
                let snapshot = timeout(GIVES_UP_AFTER, handle.settled()).await.expect("a view of a finished saga ends");
                let row = fleet.log.row(snapshot.id).unwrap();
                check_answer(&snapshot, &row);
            }
        });
    }
}
