//! Runs one saga through whatever was arranged, over as many processes as die meanwhile, and checks the invariants.

use std::{future::Future, sync::Arc, time::Duration};

use spillway_saga::{
    Engine, EngineConfig, Fate, Handle, Kind, Log, MemoryLog, NewSaga, SagaId, SagaRow, Snapshot, Started, Status,
    log::CallKind,
};
use spillway_types::Fault;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::model::{Input, Order, Quirk, Row, World, definition, receipt, steps};

/// Every saga is at rest within this much virtual time: patience, some parkings, and a late delivery.
const AT_REST_WITHIN: Duration = Duration::from_secs(900);
/// Long enough for the latest late delivery to arrive after the end.
const SETTLING: Duration = Duration::from_secs(120);

/// Longer than any test takes.
const HANGS_AFTER: Duration = Duration::from_secs(24 * 3_600);

pub(crate) const ID: SagaId = SagaId(Uuid::from_u128(7));

pub(crate) struct Harness {
    pub(crate) log: MemoryLog,
    pub(crate) world: World,
    pub(crate) engine: Engine,
    answers: Vec<Arc<Snapshot>>,
    crashes: u32,
}

/// Runs a test in paused time. One that hangs fails after some virtual hours, in no time at all.
pub(crate) fn in_paused_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { timeout(HANGS_AFTER, test).await.expect("the test hangs") })
}

pub(crate) fn order(id: SagaId) -> NewSaga {
    order_with_key(id, format!("key of {id}"))
}

pub(crate) fn order_with_key(id: SagaId, key: String) -> NewSaga {
    NewSaga::new::<Order>(id, key, *b"fingerprint", Input { sku: "TEE".to_owned() }).unwrap()
}

// === impl Harness ===

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(EngineConfig::default())
    }

    pub(crate) fn with(config: EngineConfig) -> Self {
        let log = MemoryLog::default();
        let world = World::new(log.clone());
        let engine = start_process(&log, &world, config);
        Self { log, world, engine, answers: Vec::new(), crashes: 0 }
    }

    /// Arranges what happens to the next call of a step.
    pub(crate) fn arrange(self, step: usize, kind: CallKind, quirk: Quirk) -> Self {
        self.world.arrange(step, kind, quirk);
        self
    }

    /// Kills the process and starts another.
    pub(crate) async fn restart(&mut self) {
        self.engine.halt().await;
        self.log.revive();
        self.world.revive();
        self.engine = start_process(&self.log, &self.world, EngineConfig::default());
    }

    /// Starts the order, again and again if the process dies meanwhile, as a client would.
    pub(crate) async fn place(&mut self) -> Handle {
        loop {
            let engine = self.engine.clone();
            let Started { handle, fingerprint, .. } = tokio::select! {
                started = engine.start(order(ID)) => started.expect("the engine has room"),
                () = self.died() => {
                    self.crashes += 1;
                    self.restart().await;
                    continue;
                }
            };
            assert_eq!(fingerprint, b"fingerprint");
            return handle;
        }
    }

    /// Places the order, sees it through to its end, and checks everything.
    pub(crate) async fn run(self) -> Finished {
        self.run_and_cancel(None).await
    }

    /// The same, with a cancellation after some time.
    pub(crate) async fn run_and_cancel(mut self, cancel_after: Option<Duration>) -> Finished {
        let mut handle = self.place().await;
        let placed = timeout(AT_REST_WITHIN, self.see_through(&mut handle, cancel_after)).await;
        let row = self.log.row(ID).expect("what was acknowledged is in the log");
        assert!(placed.is_ok(), "not at rest in time: {row:?}");
        sleep(SETTLING).await;
        self.check(&row).await;
        Finished { row, world: self.world, log: self.log, crashes: self.crashes }
    }

    async fn see_through(&mut self, handle: &mut Handle, cancel_after: Option<Duration>) {
        let mut cancel = Box::pin(async move {
            match cancel_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        });
        let (mut is_answered, mut is_cancelled) = (false, false);
        loop {
            tokio::select! {
                biased;
                () = self.died() => {
                    self.crashes += 1;
                    self.restart().await;
                    *handle = self.place().await;
                    is_answered = false;
                }
                answer = handle.answer(), if !is_answered => {
                    is_answered = true;
                    self.answers.push(answer);
                }
                () = &mut cancel, if !is_cancelled => {
                    is_cancelled = true;
                    let engine = self.engine.clone();
                    tokio::select! {
                        told = engine.turn_back(ID, asked()) => self.spawn_judge(told.unwrap()),
                        () = self.died() => {}
                    }
                }
                () = sleep(Duration::from_millis(500)) => {
                    if self.log.row(ID).is_some_and(|row| row.status.is_final()) {
                        return;
                    }
                }
            }
        }
    }

    /// Whoever asked to turn back is told the truth about it.
    fn spawn_judge(&self, mut handle: Handle) {
        let log = self.log.clone();
        tokio::spawn(async move {
            let fate = handle.settled().await.fate;
            sleep(AT_REST_WITHIN).await;
            let row = log.row(ID).unwrap();
            assert!(
                fate == Fate::Open || (fate == Fate::Forward) == (row.status == Status::Completed),
                "{fate:?} {row:?}"
            );
        });
    }

    async fn died(&self) {
        tokio::select! {
            () = self.log.crashed() => {}
            () = self.world.crashed() => {}
        }
    }

    /// The participants agree with the log and with what callers were told, and a repeat of the key says the same.
    async fn check(&self, row: &SagaRow) {
        assert_eq!(self.world.violations(), Vec::<String>::new());
        assert_eq!(self.log.row(ID).as_ref(), Some(row), "a finished saga stays as it is");
        check_participants(&self.world, row);
        for answer in &self.answers {
            check_answer(answer, row);
        }
        let repeat = self.engine.start(order(ID)).await.expect("a repeat is always answered");
        let snapshot = repeat.handle.snapshot();
        assert!(repeat.is_repeat && (snapshot.status, &snapshot.cause) == (row.status, &row.cause));
        if row.status == Status::Completed {
            assert_eq!(snapshot.output::<_, crate::model::Work<0>>(), Some(receipt(0)));
            assert_eq!(snapshot.output::<_, crate::model::Work<7>>(), Some(receipt(7)));
        }
    }
}

/// The participants have on record what a finished saga says.
pub(crate) fn check_participants(world: &World, row: &SagaRow) {
    for (step, kind) in steps() {
        let on_record = world.row(row.id, step);
        let agrees = match (row.status, kind) {
            (Status::Completed, _) => on_record == Some(Row::Done),
            (Status::Refused, Kind::Compensatable) if step == 0 => {
                matches!(on_record, Some(Row::Refused(_)) | None)
            }
            // Asked to turn back, a process died after the arbiter had agreed and before the log knew; then the root
            // refused. Nothing was done, and a tombstone stands.
            (Status::Refused, Kind::Compensatable) => matches!(on_record, Some(Row::Tombstone) | None),
            (Status::Refused, _) => on_record.is_none(),
            (Status::Compensated, Kind::Compensatable) => {
                matches!(on_record, Some(Row::Undone | Row::Tombstone | Row::Refused(_)))
            }
            (Status::Compensated, Kind::Pivot) => matches!(on_record, Some(Row::Refused(_)) | None),
            (Status::Compensated, Kind::Retriable) => on_record.is_none(),
            _ => false,
        };
        assert!(agrees, "step {step} has {on_record:?} in a saga that is {}", row.status);
    }
}

/// What a caller was told is how the saga ended.
pub(crate) fn check_answer(answer: &Snapshot, row: &SagaRow) {
    let is_true = match answer.fate {
        Fate::Forward => row.status == Status::Completed,
        Fate::Back => row.status != Status::Completed && answer.cause.is_some() && answer.cause == row.cause,
        Fate::Open => !answer.answerable,
    };
    assert!(is_true, "a caller was told {answer:?}, and then it was {row:?}");
}

/// A saga at its end, and what can still be asked about it.
pub(crate) struct Finished {
    pub(crate) row: SagaRow,
    pub(crate) world: World,
    pub(crate) log: MemoryLog,
    pub(crate) crashes: u32,
}

pub(crate) fn asked() -> Fault {
    Fault::new(spillway_types::Reason::Cancelled, "the buyer thought better of it")
}

fn start_process(log: &MemoryLog, world: &World, config: EngineConfig) -> Engine {
    let log: Arc<dyn Log> = Arc::new(log.clone());
    let engine = Engine::new([definition(world)], log, Arc::new(world.clock()), config);
    let recovering = engine.clone();
    tokio::spawn(async move { recovering.recover().await });
    engine
}
