//! A sale on a platform of its own, and what must be so in the end.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway_tests::{
    cluster::{Cluster, Plan, REST, Replica, Service},
    crowd::{Crowd, HOT, Pace, Tally},
    shop::{Shop, until},
};
use spillway_types::Reason;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

/// Buyers at ease: about a hundred a second, so that processors have time for faults.
pub(crate) const STROLL: Pace = Pace { places: 16, rest: Duration::from_millis(150), lot: 60 };
/// Buyers at every place all the time.
pub(crate) const STORM: Pace = Pace { places: 16, rest: Duration::ZERO, lot: 400 };

/// Partitions that an orchestrator holds.
const HELD: &str = "spillway_lease_held";
/// Half of them.
const SHARE: u64 = 128;
/// Partitions of a dead replica have another holder within this time; 3 s is what is aimed at.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// One platform at a time: two would judge each other's speed.
static TURN: Mutex<()> = Mutex::const_new(());

/// A sale that is under way.
pub(crate) struct Sale {
    pub(crate) cluster: Cluster,
    pub(crate) shop: Shop,
    pub(crate) crowd: Crowd,
    /// Chance, from a seed that is printed.
    pub(crate) rng: StdRng,
    _turn: MutexGuard<'static, ()>,
}

// === impl Sale ===

impl Sale {
    /// Starts a platform and lets the crowd in.
    pub(crate) async fn open(plan: Plan, pace: Pace) -> Self {
        let turn = TURN.lock().await;
        let seed = rand::rng().random();
        println!("seed {seed}");
        let began = Instant::now();
        let cluster = Cluster::start(plan).await;
        println!("up after {:?}", began.elapsed());
        let shop = cluster.shop();
        let crowd = Crowd::open(&shop, pace).await;
        Self { cluster, shop, crowd, rng: StdRng::seed_from_u64(seed), _turn: turn }
    }

    /// All processes, in an order of chance.
    pub(crate) fn everybody(&mut self) -> Vec<(Service, usize)> {
        let mut all: Vec<_> =
            self.cluster.replicas().iter().map(|replica| (replica.service(), replica.number())).collect();
        for place in (1..all.len()).rev() {
            all.swap(place, self.rng.random_range(0..=place));
        }
        all
    }

    /// Lets the sale go on for a while of chance.
    pub(crate) async fn go_on(&mut self) {
        self.crowd.restock().await;
        let answers = self.rng.random_range(10..40);
        self.crowd.more(answers).await;
        tokio::time::sleep(Duration::from_micros(self.rng.random_range(0..5_000))).await;
    }

    /// How long it takes from now until somebody hears something.
    pub(crate) async fn next_answer(&self) -> Duration {
        let began = Instant::now();
        self.crowd.more(1).await;
        began.elapsed()
    }

    /// How long it takes from now until somebody has paid.
    pub(crate) async fn next_paid(&self) -> Duration {
        let (began, paid) = (Instant::now(), self.crowd.paid());
        until("somebody pays", REST, async || (self.crowd.paid() > paid).then_some(())).await;
        began.elapsed()
    }

    /// Waits until the orchestrators share the partitions evenly.
    pub(crate) async fn settle(&mut self) {
        for number in [0, 1] {
            let orchestrator = self.cluster.replica(Service::Orchestrator, number);
            let share = async || (orchestrator.counted(HELD).await == SHARE).then_some(());
            until("the partitions are shared", REST, share).await;
        }
    }

    /// How long it takes until the other orchestrator has the partitions of this one, to which `fault` happens.
    pub(crate) async fn takeover(&mut self, number: usize, fault: impl AsyncFnOnce(&mut Replica)) -> Duration {
        let began = Instant::now();
        fault(self.cluster.replica(Service::Orchestrator, number)).await;
        let survivor = self.cluster.replica(Service::Orchestrator, 1 - number);
        let all = async || (survivor.counted(HELD).await == 2 * SHARE).then_some(());
        until("the partitions are taken over", TAKEOVER_MAX, all).await;
        began.elapsed()
    }

    /// How long it takes from now until everybody in the shop at this moment has heard.
    pub(crate) async fn turn_over(&self) -> Duration {
        let began = Instant::now();
        self.crowd.turn_over().await;
        began.elapsed()
    }

    /// Waits until everything is sold and settled, and judges it.
    pub(crate) async fn finish(mut self) -> Tally {
        let began = Instant::now();
        self.crowd.sold_out().await;
        self.cluster.rest().await;
        println!("sold out and at rest after {:?}", began.elapsed());
        let tally = self.crowd.check().await;
        println!("{tally:?}, all of it still so after {:?}", began.elapsed());
        let (item, stock) = (self.shop.item(HOT).await, self.crowd.stock());
        assert_eq!((item.available, item.held, item.sold_unshipped), (0, 0, stock), "sold exactly to zero");
        assert_eq!(i64::try_from(tally.paid).unwrap(), stock, "each sold unit has a buyer who was told so");
        assert!(tally.refused.contains_key(&Reason::PaymentDeclined), "some sagas turned back: {tally:?}");
        self.cluster.gate_equals_ledger(HOT).await;
        self.cluster.verify().await;
        println!("verified after {:?}", began.elapsed());
        self.cluster.stop().await;
        println!("ended after {:?}", began.elapsed());
        tally
    }
}
