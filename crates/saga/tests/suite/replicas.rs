//! Several processes over one log: each partition has one owner at a time, and whoever is asked, the owner acts.

mod chance;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use spillway_saga::{
    Engine, EngineConfig, Fate, Handle, Log, LogError, MemoryLog, Record, SagaId, StartError, Started, Status,
    Territory, log::CallKind,
};
use spillway_types::id::Partition;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{
    harness::{asked, check_participants, in_paused_time, order, order_with_key},
    model::{LATENCY, Quirk, World, definition},
};

/// Longer than any look at the log by somebody who listens takes to come round.
const SOON: Duration = Duration::from_secs(1);
const DISPATCH: usize = 7;
const AUTHORISE: usize = 2;

/// Processes over one log, and who of them holds which partition.
struct Fleet {
    log: MemoryLog,
    world: World,
    engines: Vec<Engine>,
    holders: BTreeMap<Partition, usize>,
    started: usize,
}

const HOME: Partition = Partition(7);

fn id(partition: Partition, n: u8) -> SagaId {
    let mut bytes = [0; 16];
    (bytes[9], bytes[15]) = (partition.0, n);
    SagaId(Uuid::from_bytes(bytes))
}

// === impl Fleet ===

impl Fleet {
    /// So many processes; nobody holds anything yet.
    fn of(size: usize) -> Self {
        let log = MemoryLog::default();
        let world = World::new(log.clone());
        let mut fleet = Self { log, world, engines: Vec::new(), holders: BTreeMap::new(), started: 0 };
        fleet.engines = (0..size).map(|_| fleet.start_process()).collect();
        fleet
    }

    fn start_process(&mut self) -> Engine {
        self.started += 1;
        let log: Arc<dyn Log> = Arc::new(self.log.clone());
        let world = self.world.seen_by(self.started);
        let engine = Engine::new([definition(&world)], log, Arc::new(world.clock()), EngineConfig::default())
            .within(Territory::leased());
        let recovering = engine.clone();
        tokio::spawn(async move { recovering.recover().await });
        engine
    }

    /// Takes a partition for a process, whatever its holder thinks.
    fn grant(&mut self, partition: Partition, to: usize) {
        let epoch = self.log.fence(partition);
        self.engines[to].gain(&[(partition, epoch)]);
        self.holders.insert(partition, to);
    }

    /// Takes it from its holder first.
    async fn hand_over(&mut self, partition: Partition, to: usize) {
        if let Some(holder) = self.holders.remove(&partition) {
            self.engines[holder].lose(&[partition]).await;
        }
        self.grant(partition, to);
    }

    /// Kills a process; another one comes in its place and holds nothing.
    async fn replace(&mut self, process: usize) {
        self.engines[process].halt().await;
        self.engines[process] = self.start_process();
    }

    async fn start(&self, process: usize, id: SagaId) -> Handle {
        self.engines[process].start(order(id)).await.unwrap().handle
    }

    /// Waits until the log says that a saga is finished.
    async fn finished(&self, id: SagaId) -> Status {
        let finished = async {
            loop {
                let row = self.log.row(id).expect("it was started");
                if row.status.is_final() {
                    check_participants(&self.world, &row);
                    return row.status;
                }
                sleep(LATENCY).await;
            }
        };
        let finished = timeout(Duration::from_secs(900), finished).await;
        let status = finished.unwrap_or_else(|_| panic!("{id} never ends: {:?}", self.log.row(id)));
        assert_eq!(self.world.violations(), Vec::<String>::new());
        let epochs = self.log.epochs(id);
        assert!(epochs.is_sorted(), "an epoch went down: {epochs:?}");
        status
    }
}

#[test]
fn a_process_starts_sagas_in_its_own_partitions_only() {
    in_paused_time(async {
        let mut fleet = Fleet::of(2);
        assert_eq!(fleet.engines[0].any_partition(), None);
        fleet.grant(HOME, 0);
        assert_eq!(fleet.engines[0].any_partition(), Some(HOME));
        let refused = fleet.engines[1].start(order(id(HOME, 1))).await;
        assert!(matches!(refused, Err(StartError::NotOwner)), "{refused:?}");
        assert_eq!(fleet.log.writes(), 0);
        fleet.start(0, id(HOME, 1)).await;
        assert_eq!(fleet.finished(id(HOME, 1)).await, Status::Completed);
    });
}

#[test]
fn nothing_is_begun_after_the_leases_had_to_be_renewed() {
    in_paused_time(async {
        let mut fleet = Fleet::of(1);
        fleet.grant(HOME, 0);
        let until = Instant::now() + LATENCY * 5 / 2;
        fleet.engines[0].renew(until);
        fleet.start(0, id(HOME, 1)).await;
        sleep(SOON).await;
        let refused = fleet.engines[0].start(order(id(HOME, 2))).await;
        assert!(matches!(refused, Err(StartError::NotOwner)), "{refused:?}");
        let calls: u32 = (0..8).map(|step| fleet.world.calls(step, CallKind::Run)).sum();
        assert_eq!(calls, 4, "the third round of calls was under way, and it was the last");
        assert_eq!(fleet.engines[0].active(), 0);
    });
}

#[test]
fn a_repeat_elsewhere_is_answered_as_the_owner_moves_the_saga() {
    in_paused_time(async {
        let mut fleet = Fleet::of(2);
        fleet.grant(HOME, 0);
        fleet.grant(Partition(8), 1);
        fleet.start(0, id(HOME, 1)).await;
        // The same key with the id that the other process minted for it.
        let repeat = order_with_key(id(Partition(8), 1), format!("key of {}", id(HOME, 1)));
        let Started { mut handle, is_repeat, .. } = fleet.engines[1].start(repeat).await.unwrap();
        let answer = handle.answer().await;
        assert_eq!((answer.id, is_repeat, answer.fate), (id(HOME, 1), true, Fate::Forward));
        assert!(fleet.log.row(id(Partition(8), 1)).is_none());
        assert_eq!(fleet.engines[1].active(), 0);
    });
}

#[test]
fn a_cancellation_elsewhere_reaches_the_owner_wherever_the_saga_is() {
    for deferred in [false, true] {
        in_paused_time(async {
            let mut fleet = Fleet::of(2);
            fleet.grant(HOME, 0);
            if deferred {
                fleet.world.defer_payment(Duration::from_secs(600));
            } else {
                fleet.world.arrange(AUTHORISE, CallKind::Run, Quirk::Down(SOON * 4));
            }
            let mut placed = fleet.start(0, id(HOME, 1)).await;
            sleep(SOON).await;
            let before = Instant::now();
            let mut handle = fleet.engines[1].turn_back(id(HOME, 1), asked()).await.unwrap();
            let settled = handle.settled().await;
            assert_eq!((settled.fate, settled.cause.as_ref()), (Fate::Back, Some(&asked())), "deferred: {deferred}");
            assert!(before.elapsed() < SOON, "it took {:?}", before.elapsed());
            assert_eq!(fleet.finished(id(HOME, 1)).await, Status::Compensated);
            assert_eq!(
                placed.left().await.fate == Fate::Open,
                deferred,
                "who placed it sees it too, while it is there"
            );
        });
    }
}

#[test]
fn a_cancellation_elsewhere_survives_its_owner() {
    in_paused_time(async {
        let mut fleet = Fleet::of(2);
        fleet.grant(HOME, 0);
        fleet.world.arrange(AUTHORISE, CallKind::Run, Quirk::Hang);
        fleet.start(0, id(HOME, 1)).await;
        sleep(LATENCY * 5).await;
        fleet.engines[0].halt().await;
        let mut handle = fleet.engines[1].turn_back(id(HOME, 1), asked()).await.unwrap();
        sleep(SOON).await;
        assert_eq!(fleet.log.row(id(HOME, 1)).unwrap().status, Status::Running, "nobody drives it");
        fleet.grant(HOME, 1);
        assert_eq!(handle.settled().await.fate, Fate::Back);
        assert_eq!(fleet.finished(id(HOME, 1)).await, Status::Compensated);
    });
}

#[test]
fn a_cancellation_elsewhere_that_comes_too_late_hears_so_long_before_the_end() {
    in_paused_time(async {
        let mut fleet = Fleet::of(2);
        fleet.grant(HOME, 0);
        fleet.world.arrange(DISPATCH, CallKind::Run, Quirk::Down(SOON * 100));
        fleet.start(0, id(HOME, 1)).await;
        sleep(SOON).await;
        let mut handle = fleet.engines[1].turn_back(id(HOME, 1), asked()).await.unwrap();
        let settled = timeout(SOON, handle.settled()).await.expect("it is certain by now");
        assert_eq!(settled.fate, Fate::Forward);
        let again = fleet.engines[1].turn_back(id(HOME, 1), asked()).await.unwrap().settled().await;
        assert_eq!(again.fate, Fate::Forward);
        assert_eq!(fleet.finished(id(HOME, 1)).await, Status::Completed);
        let told = fleet.log.records(id(HOME, 1)).iter().filter(|record| **record == Record::Onward).count();
        assert_eq!(told, 1);
    });
}

#[test]
fn a_signal_elsewhere_wakes_a_saga_that_waits() {
    in_paused_time(async {
        let mut fleet = Fleet::of(2);
        fleet.grant(HOME, 0);
        fleet.world.defer_payment(Duration::from_secs(600));
        fleet.start(0, id(HOME, 1)).await.left().await;
        fleet.world.pay(id(HOME, 1));
        let before = Instant::now();
        let mut handle = fleet.engines[1].signal(id(HOME, 1)).await.unwrap();
        assert_eq!(handle.left().await.status, Status::Completed);
        assert!(before.elapsed() < SOON, "it took {:?}", before.elapsed());
    });
}

#[test]
fn a_partition_that_is_handed_over_takes_its_sagas_and_their_callers_along() {
    in_paused_time(async {
        let mut fleet = Fleet::of(2);
        fleet.grant(HOME, 0);
        fleet.world.arrange(AUTHORISE, CallKind::Run, Quirk::Hang);
        let mut placed = fleet.start(0, id(HOME, 1)).await;
        sleep(LATENCY * 5).await;
        fleet.engines[0].lose(&[HOME]).await;
        assert_eq!(fleet.engines[0].active(), 0);
        let calls = fleet.world.calls(AUTHORISE, CallKind::Run);
        sleep(SOON).await;
        assert_eq!(fleet.world.calls(AUTHORISE, CallKind::Run), calls, "nobody holds it");
        fleet.grant(HOME, 1);
        assert_eq!(placed.answer().await.fate, Fate::Forward, "who placed it sees it through");
        assert_eq!(fleet.finished(id(HOME, 1)).await, Status::Completed);
        assert_eq!(fleet.log.epochs(id(HOME, 1)), [1, 2, 2]);
    });
}

#[test]
fn a_driver_that_was_frozen_past_its_lease_is_refused_and_stops() {
    in_paused_time(async {
        let mut fleet = Fleet::of(2);
        fleet.grant(HOME, 0);
        fleet.log.slow_down(LATENCY * 20);
        let starting = fleet.engines[0].clone();
        let starting = tokio::spawn(async move { starting.start(order(id(HOME, 1))).await });
        sleep(LATENCY).await;
        // The insert is on its way when somebody else takes the partition.
        fleet.grant(HOME, 1);
        let refused = starting.await.unwrap();
        assert!(matches!(refused, Err(StartError::NotOwner)), "{refused:?}");
        assert!(fleet.log.row(id(HOME, 1)).is_none());

        let mut placed = fleet.start(1, id(HOME, 2)).await;
        fleet.grant(HOME, 0);
        assert_eq!(placed.answer().await.fate, Fate::Forward);
        assert_eq!(fleet.finished(id(HOME, 2)).await, Status::Completed);
        let stale = fleet.log.record(id(HOME, 2), 2, Record::Onward, fleet.log.row(id(HOME, 2)).unwrap().updated).await;
        assert_eq!(stale, Err(LogError::Fenced(id(HOME, 2))));
    });
}
