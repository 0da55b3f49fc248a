use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::*;

/// A till of counters: a command adds to one and hears the new total; a sum above 1,000 is refused.
#[derive(Debug)]
struct Till;

impl Rules for Till {
    type Command = (&'static str, u32);
    type Answer = Result<u32, &'static str>;
    type Rows = BTreeMap<&'static str, u32>;

    fn decide(rows: &mut Self::Rows, command: &Self::Command, _: Timestamp) -> Self::Answer {
        let total = rows.entry(command.0).or_default();
        if *total + command.1 > 1_000 {
            return Err("full");
        }
        *total += command.1;
        Ok(*total)
    }
}

/// What a [`Memory`] store shares with its test.
#[derive(Debug)]
struct Disk {
    committed: Mutex<BTreeMap<&'static str, u32>>,
    batches: Mutex<Vec<usize>>,
    conflicts: Mutex<u32>,
    broken: Mutex<bool>,
    tidied: Mutex<u32>,
    /// Each commit takes one permit, so that a test decides when commits end.
    commits: Semaphore,
}

struct Memory {
    disk: Arc<Disk>,
    open: Option<BTreeMap<&'static str, u32>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Session for Memory {
    async fn begin(&mut self) -> Result<(), StoreError> {
        assert!(self.open.is_none(), "a transaction is open already");
        self.open = Some(locked(&self.disk.committed).clone());
        Ok(())
    }

    async fn now(&mut self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::default())
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.disk.commits.acquire().await.unwrap().forget();
        if *locked(&self.disk.broken) {
            return Err(StoreError::Unfit("disk full".to_owned()));
        }
        *locked(&self.disk.committed) = self.open.take().unwrap();
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.open = None;
        Ok(())
    }

    async fn mark_published(&mut self, _: &[i64], _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget_records(&mut self, _: Timestamp) -> Result<(), StoreError> {
        *locked(&self.disk.tidied) += 1;
        Ok(())
    }
}

#[async_trait]
impl Store<Till> for Memory {
    type Session = Self;

    fn session(&mut self) -> &mut Self {
        self
    }

    async fn load(&mut self, commands: &[(&'static str, u32)]) -> Result<BTreeMap<&'static str, u32>, StoreError> {
        locked(&self.disk.batches).push(commands.len());
        Ok(self.open.clone().unwrap())
    }

    async fn save(&mut self, rows: &BTreeMap<&'static str, u32>) -> Result<(), StoreError> {
        let mut conflicts = locked(&self.disk.conflicts);
        if *conflicts > 0 {
            *conflicts -= 1;
            // The other writer's row is there when the batch is loaded again.
            locked(&self.disk.committed).entry("a").and_modify(|total| *total += 100).or_insert(100);
            return Err(StoreError::Conflict("a".to_owned()));
        }
        self.open = Some(rows.clone());
        Ok(())
    }
}

fn till(permits: usize) -> (Arc<Disk>, Committer<Till>) {
    let disk = Arc::new(Disk {
        committed: Mutex::default(),
        batches: Mutex::default(),
        conflicts: Mutex::default(),
        broken: Mutex::default(),
        tidied: Mutex::default(),
        commits: Semaphore::new(permits),
    });
    let committer = spawn(Memory { disk: Arc::clone(&disk), open: None }, Limits { batch_max: 8, queue_max: 16 });
    (disk, committer)
}

/// Lets everything that can run do so; the clock is paused.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_what_arrived_during_the_last_commit() {
    let (disk, till) = till(0);
    let callers: Vec<_> = (0..12)
        .map(|n| {
            let till = till.clone();
            tokio::spawn(async move {
                // The first command goes alone; all others arrive while its commit hangs.
                tokio::time::sleep(Duration::from_millis(u64::from(n > 0))).await;
                till.submit(("a", 1)).await.unwrap().unwrap()
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(5)).await;
    disk.commits.add_permits(3);
    let mut totals = Vec::new();
    for caller in callers {
        totals.push(caller.await.unwrap());
    }
    totals.sort_unstable();
    assert_eq!(totals, (1..=12).collect::<Vec<_>>(), "each caller sees its own place in the batch");
    assert_eq!(*locked(&disk.batches), [1, 8, 3]);
    assert_eq!((till.totals().batches, till.totals().commands), (3, 12));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_never_fails_its_neighbours() {
    let (_, till) = till(10);
    let (first, refused, last) = tokio::join!(till.submit(("a", 900)), till.submit(("a", 200)), till.submit(("a", 50)));
    assert_eq!((first.unwrap(), refused.unwrap(), last.unwrap()), (Ok(900), Err("full"), Ok(950)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_lost_a_race_is_loaded_and_decided_again() {
    let (disk, till) = till(10);
    *locked(&disk.conflicts) = 3;
    assert_eq!(till.submit(("a", 1)).await.unwrap(), Ok(301), "three other writers came first");
    *locked(&disk.conflicts) = CONFLICT_ROUNDS;
    assert!(matches!(till.submit(("a", 1)).await, Err(StoreError::Batch(_))), "it does not race for ever");
    assert!(till.submit(("a", 1)).await.is_ok(), "and the worker goes on");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_answered_before_the_commit_and_a_failed_one_is_nobodys_success() {
    let (disk, till) = till(0);
    let caller = tokio::spawn({
        let till = till.clone();
        async move { till.submit(("a", 7)).await }
    });
    settle().await;
    assert!(!caller.is_finished(), "answered before the commit");
    *locked(&disk.broken) = true;
    disk.commits.add_permits(1);
    assert!(matches!(caller.await.unwrap(), Err(StoreError::Batch(_))));
    *locked(&disk.broken) = false;
    disk.commits.add_permits(1);
    assert_eq!(till.submit(("a", 7)).await.unwrap(), Ok(7), "the failed batch left nothing behind");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_caller_that_leaves_takes_nothing_back() {
    let (disk, till) = till(0);
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let till = till.clone();
            tokio::spawn(async move { till.submit(("a", 1)).await })
        })
        .collect();
    settle().await;
    // The worker holds up to 8 in its batch; the queue holds 16.
    let mut extra = 0;
    while till.check().is_ok() {
        let till = till.clone();
        tokio::spawn(async move { till.submit(("a", 1)).await });
        settle().await;
        extra += 1;
    }
    assert!(matches!(till.submit(("a", 1)).await, Err(StoreError::Busy { limit: 16 })));
    for caller in callers {
        caller.abort();
    }
    disk.commits.add_permits(10);
    settle().await;
    assert_eq!(locked(&disk.committed)["a"], 16 + extra, "every accepted command was carried out");
}

#[tokio::test(start_paused = true)]
async fn old_records_are_looked_for_now_and_then_and_never_by_themselves() {
    let (disk, till) = till(100);
    for _ in 0..5 {
        till.submit(("a", 1)).await.unwrap().unwrap();
    }
    assert_eq!(*locked(&disk.tidied), 0);
    tokio::time::sleep(TIDY_INTERVAL).await;
    for _ in 0..5 {
        till.submit(("a", 1)).await.unwrap().unwrap();
    }
    assert_eq!(*locked(&disk.tidied), 1, "once an interval, with a commit that comes anyway");
}
