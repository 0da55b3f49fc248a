//! A saga shaped like the placing of an order, and participants in memory that keep their promises: one row a step, looked
//! up first; compensation is total and leaves tombstones; the arbiter and the pivot meet in one row.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spillway_saga::{
    Backoff, Compensate, Context, Definition, Kind, MemoryLog, Outcome, Saga, SagaId, Step, StepPolicy, Trigger, Undo,
    Unknown, log::CallKind, state::Direction,
};
use spillway_types::{Clock, Fault, Reason, Timestamp};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

pub(crate) const NAMES: [&str; 8] =
    ["reserve", "create", "authorise", "plan", "capture", "confirm_stock", "confirm_order", "dispatch"];
const ROOT: usize = 0;
const ARBITER: usize = 2;
const PIVOT: usize = 4;
/// How long a call takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

pub(crate) const POLICY: StepPolicy = StepPolicy {
    attempt_timeout: Duration::from_secs(1),
    backoff: Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) },
    patience: Duration::from_secs(5),
};

pub(crate) struct Order;

#[derive(Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) sku: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt(pub(crate) String);

/// The `N`-th step.
pub(crate) struct Work<const N: usize>(pub(crate) World);

/// What happens to a call instead of going well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quirk {
    /// A recorded refusal; of a retriable step, a broken promise.
    Refuse,
    /// The gate's "no", which leaves no record.
    Shrug,
    /// No effect, and nobody knows.
    LostBefore,
    /// The effect, and nobody knows.
    LostAfter,
    /// The effect, and no answer at all.
    Hang,
    /// The effect comes that much later, when everybody has given up on it.
    Late(Duration),
    /// The effect is asked for twice at once.
    Twice,
    /// No answer to this call nor any for that long.
    Down(Duration),
    /// The process dies before the call has any effect.
    CrashBefore,
    /// The process dies when it had its effect.
    CrashAfter,
    /// The step's code has a bug.
    Panic,
    /// An answer that asking again will not change.
    Permanent,
}

/// What a participant has on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Done,
    Pending { due: Timestamp },
    Refused(Fault),
    Undone,
    Tombstone,
}

/// The participants, the network between, and whoever watches over the invariants; as one process sees them.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>, Process);

/// Which process makes a call.
type Process = usize;

/// A call that is under way.
struct Busy<'a>(&'a World, SagaId);

struct Inner {
    state: Mutex<State>,
    crashed: Notify,
    log: MemoryLog,
    clock: TestClock,
}

#[derive(Default)]
struct State {
    rows: HashMap<(SagaId, usize), Row>,
    scripts: HashMap<(usize, CallKind), VecDeque<Quirk>>,
    outages: HashMap<(usize, CallKind), Instant>,
    /// Authorisation waits for the buyer that long.
    deferred: Option<Duration>,
    paid: HashSet<SagaId>,
    /// The buyer pays at the very moment at which the timer's compensation arrives.
    pays_late: bool,
    crashed: bool,
    calls: HashMap<(usize, CallKind), u32>,
    sent: HashSet<(SagaId, usize)>,
    /// Who has how many calls under way.
    busy: HashMap<SagaId, HashMap<Process, u32>>,
    /// Processes may go on for a while after another one has taken their sagas, as one that was frozen would.
    has_zombies: bool,
    fired: u32,
    violations: Vec<String>,
}

/// A wall clock that follows the paused clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestClock(Instant);

pub(crate) fn definition(world: &World) -> Definition {
    fn at<const N: usize>(world: &World) -> Work<N> {
        Work(world.clone())
    }
    Definition::builder::<Order>()
        .compensatable(at::<0>(world), &[], POLICY)
        .compensatable(at::<1>(world), &["reserve"], POLICY)
        .compensatable(at::<2>(world), &["create"], POLICY)
        .compensatable(at::<3>(world), &["create"], POLICY)
        .pivot(at::<4>(world), &["authorise", "plan"], POLICY)
        .retriable(at::<5>(world), &["capture"], POLICY)
        .retriable(at::<6>(world), &["capture"], POLICY)
        .retriable(at::<7>(world), &["confirm_stock", "confirm_order"], POLICY)
        .arbiter("authorise")
        .answer_after(&["confirm_stock", "confirm_order"])
        .build()
        .unwrap()
}

/// The steps by number, with their kinds, as the definition has them.
pub(crate) fn steps() -> Vec<(usize, Kind)> {
    let world = World::new(MemoryLog::default());
    let definition = definition(&world);
    assert_eq!(definition.arbiter(), NAMES[ARBITER]);
    assert!(definition.steps().map(|step| step.name).eq(NAMES));
    definition.steps().enumerate().map(|(n, step)| (n, step.kind)).collect()
}

// === impl Work ===

impl Saga for Order {
    type Input = Input;
    const NAME: &'static str = "order";
    const VERSION: u32 = 1;
}

#[async_trait]
impl<const N: usize> Step<Order> for Work<N> {
    type Output = Receipt;
    const NAME: &'static str = NAMES[N];

    async fn run(&self, cx: &Context<Order>) -> Outcome<Receipt> {
        assert_eq!(cx.input().sku, "TEE");
        if N > ROOT && cx.require::<Work<ROOT>>() != Ok(&receipt(ROOT)) {
            return Unknown::permanent(Fault::internal()).into();
        }
        if N > PIVOT && cx.output::<Work<PIVOT>>() != Some(&receipt(PIVOT)) {
            return Unknown::permanent(Fault::internal()).into();
        }
        self.0.watch_repeats(cx, N);
        let _busy = self.0.busy(cx.id());
        let quirk = self.0.before(N, CallKind::Run).await;
        let (world, id) = (&self.0, cx.id());
        match quirk {
            None => world.run(id, N),
            Some(Quirk::Refuse) => world.refuse(id, N),
            Some(Quirk::Shrug) => {
                Outcome::Refused(Fault::new(Reason::OutOfStock, "not at this moment").with("recorded", false))
            }
            Some(Quirk::LostAfter) => {
                world.run(id, N);
                unknown().into()
            }
            Some(Quirk::Hang) => {
                world.run(id, N);
                pending().await
            }
            Some(Quirk::Late(by)) => {
                let world = world.clone();
                tokio::spawn(async move {
                    sleep(by).await;
                    world.run(id, N);
                });
                unknown().into()
            }
            Some(Quirk::Twice) => {
                let first = world.run(id, N);
                assert_eq!(first, world.run(id, N), "{} answers a duplicate otherwise", NAMES[N]);
                first
            }
            Some(Quirk::CrashAfter) => {
                world.run(id, N);
                world.crash().await
            }
            Some(Quirk::CrashBefore) => world.crash().await,
            Some(Quirk::Panic) => panic!("arranged"),
            Some(Quirk::Permanent) => Unknown::permanent(Fault::new(Reason::NotAllowed, "not allowed")).into(),
            Some(Quirk::LostBefore | Quirk::Down(_)) => unknown().into(),
        }
    }
}

#[async_trait]
impl<const N: usize> Compensate<Order> for Work<N> {
    async fn compensate(&self, cx: &Context<Order>) -> Undo {
        let (world, id) = (&self.0, cx.id());
        let trigger = cx.cause().expect("a compensation knows its cause").trigger;
        let _busy = world.busy(id);
        let quirk = world.before(N, CallKind::Compensate).await;
        match quirk {
            None | Some(Quirk::Refuse | Quirk::Shrug) => world.compensate(id, N, trigger),
            Some(Quirk::LostAfter) => {
                world.compensate(id, N, trigger);
                unknown().into()
            }
            Some(Quirk::Hang) => {
                world.compensate(id, N, trigger);
                pending().await
            }
            Some(Quirk::Late(by)) => {
                let world = world.clone();
                tokio::spawn(async move {
                    sleep(by).await;
                    world.compensate(id, N, trigger);
                });
                unknown().into()
            }
            Some(Quirk::Twice) => {
                let first = world.compensate(id, N, trigger);
                assert_eq!(first, world.compensate(id, N, trigger), "{} undoes a duplicate otherwise", NAMES[N]);
                first
            }
            Some(Quirk::CrashAfter) => {
                world.compensate(id, N, trigger);
                world.crash().await
            }
            Some(Quirk::CrashBefore) => world.crash().await,
            Some(Quirk::Panic) => panic!("arranged"),
            Some(Quirk::Permanent) => Unknown::permanent(Fault::new(Reason::NotAllowed, "not allowed")).into(),
            Some(Quirk::LostBefore | Quirk::Down(_)) => unknown().into(),
        }
    }
}

pub(crate) fn receipt(step: usize) -> Receipt {
    Receipt(format!("receipt of {}", NAMES[step]))
}

fn unknown() -> Unknown {
    Unknown::passing(Fault::new(Reason::Unreachable, "no answer"))
}

// === impl World ===

impl World {
    pub(crate) fn new(log: MemoryLog) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Inner { state, crashed: Notify::new(), log, clock: TestClock::start() }), 0)
    }

    /// The same world, as another process sees it.
    pub(crate) fn seen_by(&self, process: Process) -> Self {
        Self(Arc::clone(&self.0), process)
    }

    pub(crate) fn allow_zombies(&self) {
        self.lock().has_zombies = true;
    }

    pub(crate) fn clock(&self) -> TestClock {
        self.0.clock
    }

    /// Arranges what happens to the next call.
    pub(crate) fn arrange(&self, step: usize, kind: CallKind, quirk: Quirk) {
        self.lock().scripts.entry((step, kind)).or_default().push_back(quirk);
    }

    /// Authorisation waits for the buyer that long.
    pub(crate) fn defer_payment(&self, by: Duration) {
        self.lock().deferred = Some(by);
    }

    pub(crate) fn pay(&self, id: SagaId) {
        self.lock().paid.insert(id);
    }

    pub(crate) fn pay_as_the_timer_comes(&self) {
        self.lock().pays_late = true;
    }

    /// Returns once a call has killed the process.
    pub(crate) async fn crashed(&self) {
        let crashed = self.0.crashed.notified();
        if !self.lock().crashed {
            crashed.await;
        }
    }

    pub(crate) fn revive(&self) {
        self.lock().crashed = false;
    }

    /// How many arranged things have happened.
    pub(crate) fn fired(&self) -> u32 {
        self.lock().fired
    }

    pub(crate) fn calls(&self, step: usize, kind: CallKind) -> u32 {
        self.lock().calls.get(&(step, kind)).copied().unwrap_or_default()
    }

    pub(crate) fn row(&self, id: SagaId, step: usize) -> Option<Row> {
        self.lock().rows.get(&(id, step)).cloned()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// A saga has one driver: while one has calls under way, no other makes any.
    fn busy(&self, id: SagaId) -> Busy<'_> {
        let mut state = self.lock();
        let calls = state.busy.entry(id).or_default();
        *calls.entry(self.1).or_default() += 1;
        if calls.len() > 1 && !state.has_zombies {
            state.violations.push(format!("{id} has two drivers"));
        }
        Busy(self, id)
    }

    /// A gate must know a call that may have been made before.
    fn watch_repeats(&self, cx: &Context<Order>, step: usize) {
        let mut state = self.lock();
        if !state.sent.insert((cx.id(), step)) && !cx.redriven() {
            state.violations.push(format!("{} was sent again as if for the first time", NAMES[step]));
        }
    }

    /// The way to the participant.
    async fn before(&self, step: usize, kind: CallKind) -> Option<Quirk> {
        sleep(LATENCY).await;
        let mut state = self.lock();
        *state.calls.entry((step, kind)).or_default() += 1;
        if state.outages.get(&(step, kind)).is_some_and(|until| *until > Instant::now()) {
            return Some(Quirk::LostBefore);
        }
        let quirk = state.scripts.get_mut(&(step, kind)).and_then(VecDeque::pop_front)?;
        state.fired += 1;
        if let Quirk::Down(by) = quirk {
            state.outages.insert((step, kind), Instant::now() + by);
        }
        Some(quirk)
    }

    async fn crash<T>(&self) -> T {
        self.lock().crashed = true;
        self.0.crashed.notify_waiters();
        pending().await
    }

    /// The forward effect: the row is looked up first.
    fn run(&self, id: SagaId, step: usize) -> Outcome<Receipt> {
        let mut state = self.lock();
        let is_voided = matches!(state.rows.get(&(id, ARBITER)), Some(Row::Undone | Row::Tombstone));
        if step == PIVOT && is_voided {
            return Outcome::Refused(Fault::tombstone());
        }
        let deferred = if step == ARBITER { state.deferred } else { None };
        let is_paid = state.paid.contains(&id);
        let now = self.0.clock.now();
        let row = state.rows.entry((id, step)).or_insert_with(|| match deferred {
            Some(by) => Row::Pending { due: now.saturating_add(by) },
            None => Row::Done,
        });
        match row {
            Row::Pending { .. } if is_paid => {
                *row = Row::Done;
                Outcome::Done(receipt(step))
            }
            Row::Pending { due } => Outcome::Pending { due: *due, output: receipt(step) },
            Row::Done => Outcome::Done(receipt(step)),
            Row::Refused(fault) => Outcome::Refused(fault.clone()),
            Row::Undone | Row::Tombstone => Outcome::Refused(Fault::tombstone()),
        }
    }

    /// A recorded refusal, unless there is something on record already. A retriable step refuses without a record: it has
    /// promised not to.
    fn refuse(&self, id: SagaId, step: usize) -> Outcome<Receipt> {
        let fault = Fault::new(Reason::PaymentDeclined, format!("{} refused", NAMES[step]));
        if step > PIVOT {
            return Outcome::Refused(fault);
        }
        if self.row(id, step).is_none() && (step != PIVOT || self.row(id, ARBITER) == Some(Row::Done)) {
            self.lock().rows.insert((id, step), Row::Refused(fault));
        }
        self.run(id, step)
    }

    /// The compensation's effect: total.
    fn compensate(&self, id: SagaId, step: usize, trigger: Trigger) -> Undo {
        let decided = self.0.log.row(id).is_some_and(|row| row.direction == Direction::Backward);
        let mut state = self.lock();
        let is_captured = state.rows.get(&(id, PIVOT)) == Some(&Row::Done);
        if step != ARBITER && !decided {
            state.violations.push(format!("{} was compensated before that was decided", NAMES[step]));
        }
        if step != ARBITER && is_captured {
            state.violations.push(format!("{} was compensated after the pivot", NAMES[step]));
        }
        if step == ARBITER && is_captured {
            return Undo::PivotPassed;
        }
        if state.pays_late {
            state.paid.insert(id);
        }
        let is_paid = state.paid.contains(&id);
        let is_conditional = trigger == Trigger::Timer;
        let row = state.rows.entry((id, step)).or_insert(Row::Tombstone);
        match row {
            Row::Pending { .. } if is_paid && is_conditional => return Undo::Stands,
            Row::Done | Row::Pending { .. } => *row = Row::Undone,
            Row::Refused(_) | Row::Undone | Row::Tombstone => {}
        }
        Undo::Undone
    }
}

// === impl Busy ===

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Self(world, id) = *self;
        let mut state = world.lock();
        let calls = state.busy.get_mut(&id).unwrap();
        let left = calls.get_mut(&world.1).unwrap();
        *left -= 1;
        if *left == 0 {
            calls.remove(&world.1);
        }
    }
}

// === impl TestClock ===

impl TestClock {
    fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_795_219_199_000_000).saturating_add(self.0.elapsed())
    }
}
