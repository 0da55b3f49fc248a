//! Which sagas a process may drive: all of them, or those of the partitions that it holds a lease on.

use std::collections::BTreeMap;

use rand::Rng;
use spillway_types::id::Partition;
use tokio::time::Instant;

/// Which sagas a process may drive, and under which epochs.
#[derive(Clone, Debug)]
pub struct Territory {
    ground: Ground,
    /// Whether the log was searched, since it was gained, for what earlier drivers left unfinished: the whole's.
    is_settled: bool,
    /// After this nothing may be begun, whatever is held: the time by which the leases have to be renewed.
    until: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Ground {
    Whole { epoch: i64 },
    Leased(BTreeMap<Partition, Tenure>),
}

/// A lease on a partition.
#[derive(Clone, Copy, Debug)]
struct Tenure {
    epoch: i64,
    is_settled: bool,
}

/// A part of a territory, as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole(i64),
    Leased(BTreeMap<Partition, i64>),
}

// === impl Territory ===

impl Territory {
    /// Everything, for a process that shares its log with nobody. The epoch is higher than that of any earlier process.
    pub const fn whole(epoch: i64) -> Self {
        Self { ground: Ground::Whole { epoch }, is_settled: false, until: None }
    }

    /// Nothing yet: partitions are gained and lost as the process runs.
    pub const fn leased() -> Self {
        Self { ground: Ground::Leased(BTreeMap::new()), is_settled: true, until: None }
    }

    /// Whether partitions come and go.
    pub(crate) const fn is_leased(&self) -> bool {
        matches!(self.ground, Ground::Leased(_))
    }

    /// The epoch under which sagas of a partition may be driven; `None`: not by this process.
    pub(crate) fn epoch(&self, partition: Partition, now: Instant) -> Option<i64> {
        if self.until.is_some_and(|until| now >= until) {
            return None;
        }
        match &self.ground {
            Ground::Whole { epoch } => Some(*epoch),
            Ground::Leased(held) => held.get(&partition).map(|tenure| tenure.epoch),
        }
    }

    /// Any partition that is held, each as likely as the others.
    pub(crate) fn any(&self, now: Instant, rng: &mut impl Rng) -> Option<Partition> {
        if self.until.is_some_and(|until| now >= until) {
            return None;
        }
        match &self.ground {
            Ground::Whole { .. } => Some(Partition(rng.random())),
            Ground::Leased(held) if held.is_empty() => None,
            Ground::Leased(held) => held.keys().nth(rng.random_range(0..held.len())).copied(),
        }
    }

    pub(crate) fn gain(&mut self, gained: &[(Partition, i64)]) {
        if let Ground::Leased(held) = &mut self.ground {
            held.extend(
                gained.iter().map(|(partition, epoch)| (*partition, Tenure { epoch: *epoch, is_settled: false })),
            );
        }
    }

    pub(crate) fn lose(&mut self, lost: &[Partition]) {
        if let Ground::Leased(held) = &mut self.ground {
            held.retain(|partition, _| !lost.contains(partition));
        }
    }

    pub(crate) fn renew(&mut self, until: Instant) {
        self.until = Some(until);
    }

    /// What was gained and not searched yet.
    pub(crate) fn unsettled(&self) -> Option<Part> {
        self.part(false)
    }

    /// What was searched since it was gained.
    pub(crate) fn settled(&self) -> Option<Part> {
        self.part(true)
    }

    /// A part has been searched; what was lost meanwhile, or gained anew, has not.
    pub(crate) fn settle(&mut self, part: &Part) {
        match (&mut self.ground, part) {
            (Ground::Whole { .. }, _) => self.is_settled = true,
            (Ground::Leased(held), Part::Leased(searched)) => {
                for (partition, tenure) in held {
                    tenure.is_settled |= searched.get(partition) == Some(&tenure.epoch);
                }
            }
            (Ground::Leased(_), Part::Whole(_)) => {}
        }
    }

    fn part(&self, is_settled: bool) -> Option<Part> {
        match &self.ground {
            Ground::Whole { epoch } => (self.is_settled == is_settled).then_some(Part::Whole(*epoch)),
            Ground::Leased(held) => {
                let those = held.iter().filter(|(_, tenure)| tenure.is_settled == is_settled);
                let those: BTreeMap<_, _> = those.map(|(partition, tenure)| (*partition, tenure.epoch)).collect();
                (!those.is_empty()).then_some(Part::Leased(those))
            }
        }
    }
}

// === impl Part ===

impl Part {
    /// The epoch under which a saga found in this part would be driven.
    pub(crate) fn epoch(&self, partition: Partition) -> Option<i64> {
        match self {
            Self::Whole(epoch) => Some(*epoch),
            Self::Leased(held) => held.get(&partition).copied(),
        }
    }

    /// The partitions, for a query; `None` for all.
    pub(crate) fn partitions(&self) -> Option<Vec<Partition>> {
        match self {
            Self::Whole(_) => None,
            Self::Leased(held) => Some(held.keys().copied().collect()),
        }
    }

    /// Whether a row was written last under the very lease of this part: then it is no earlier driver's.
    pub(crate) fn wrote(&self, partition: Partition, epoch: i64) -> bool {
        matches!(self, Self::Leased(held) if held.get(&partition) == Some(&epoch))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    const A: Partition = Partition(3);
    const B: Partition = Partition(200);

    #[test]
    fn what_is_gained_is_searched_once_a_tenure() {
        let mut land = Territory::leased();
        assert_eq!((land.unsettled(), land.settled()), (None, None));
        land.gain(&[(A, 1), (B, 7)]);
        let found = land.unsettled().unwrap();
        assert_eq!(found.partitions(), Some(vec![A, B]));
        // Lost and gained again while the search ran, B is another tenure.
        land.lose(&[B]);
        land.gain(&[(B, 9)]);
        land.settle(&found);
        assert_eq!(land.settled(), Some(Part::Leased([(A, 1)].into())));
        assert_eq!(land.unsettled(), Some(Part::Leased([(B, 9)].into())));
    }

    #[test]
    fn nothing_is_held_after_the_time_by_which_leases_had_to_be_renewed() {
        let mut land = Territory::leased();
        let (now, mut rng) = (Instant::now(), SmallRng::seed_from_u64(1));
        land.gain(&[(A, 1)]);
        let until = now + Duration::from_secs(1);
        land.renew(until);
        assert_eq!((land.epoch(A, now), land.epoch(B, now), land.any(now, &mut rng)), (Some(1), None, Some(A)));
        assert_eq!((land.epoch(A, until), land.any(until, &mut rng)), (None, None));
    }

    #[test]
    fn the_whole_has_every_partition_and_one_epoch() {
        let mut land = Territory::whole(5);
        land.gain(&[(A, 9)]);
        land.lose(&[A]);
        assert_eq!(land.epoch(A, Instant::now()), Some(5));
        let found = land.unsettled().unwrap();
        assert_eq!((found.partitions(), found.epoch(B)), (None, Some(5)));
        land.settle(&found);
        assert_eq!((land.unsettled(), land.settled()), (None, Some(Part::Whole(5))));
    }
}
