//! Entries that were read and not yet acknowledged, lane by lane. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::stream::{Entry, EntryId};
use crate::bus::{Event, Lane, letterbox::Standing};

/// How long a gap may last before the publisher is asked to fill it: another replica may be just about to take what is
/// missing here.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long to wait for a refill before asking again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// An entry's place: its stream, and its id there.
pub(super) type Place = (String, EntryId);

/// What is waiting.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    lanes: BTreeMap<Lane, Queue>,
    len: usize,
}

/// Events of one lane, by sequence, each with every entry that carried it.
#[derive(Debug, Default)]
struct Queue {
    events: BTreeMap<i64, (Event, BTreeSet<Place>)>,
    /// Since when the next event is missing, and when it was asked for last.
    gap: Option<(Instant, Option<Instant>)>,
}

/// What can be done now, by what the consumer's database says.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Events that are next in their lanes, in order.
    pub(super) ready: Vec<Event>,
    /// Of these lanes, events go to the letterbox.
    pub(super) blocked: BTreeSet<Lane>,
    /// How far lanes are when all that is ready was delivered.
    pub(super) taken: BTreeMap<Lane, i64>,
    /// Events that are missing: lane, first and last.
    pub(super) missing: Vec<(Lane, i64, i64)>,
}

// === impl Waiting ===

impl Waiting {
    /// How many entries wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn lanes(&self) -> BTreeSet<Lane> {
        self.lanes.keys().cloned().collect()
    }

    /// Takes an entry in; one that is known already changes nothing.
    pub(super) fn add(&mut self, event: Event, place: Place) {
        let queue = self.lanes.entry(event.lane()).or_default();
        let (_, places) = queue.events.entry(event.sequence).or_insert_with(|| (event, BTreeSet::new()));
        self.len += usize::from(places.insert(place));
    }

    /// What to deliver, at most about `events_max`, and what to ask for.
    pub(super) fn plan(&mut self, standings: &BTreeMap<Lane, Standing>, events_max: usize, now: Instant) -> Plan {
        let mut plan = Plan::default();
        for (lane, queue) in &mut self.lanes {
            let standing = standings.get(lane).copied().unwrap_or_default();
            let mut taken = standing.taken;
            if plan.ready.len() < events_max {
                for (sequence, (event, _)) in queue.events.range(taken.saturating_add(1)..) {
                    if *sequence != taken + 1 {
                        break;
                    }
                    taken = *sequence;
                    plan.ready.push(event.clone());
                }
            }
            if standing.is_blocked {
                plan.blocked.insert(lane.clone());
            }
            plan.taken.insert(lane.clone(), taken);
            let next = queue.events.range(taken.saturating_add(1)..).next();
            match next {
                Some((first, _)) if *first > taken + 1 => {
                    let (since, asked) = queue.gap.get_or_insert((now, None));
                    let is_due = asked.map_or(*since + PATIENCE, |asked| asked + ASK_AGAIN) <= now;
                    if is_due {
                        *asked = Some(now);
                        plan.missing.push((lane.clone(), taken + 1, first - 1));
                    }
                }
                _ => queue.gap = None,
            }
        }
        plan
    }

    /// Lets go of everything up to where the lanes are now, and answers its entries, to be acknowledged.
    pub(super) fn done(&mut self, taken: &BTreeMap<Lane, i64>) -> Vec<Place> {
        let mut places = Vec::new();
        for (lane, sequence) in taken {
            if let Some(queue) = self.lanes.get_mut(lane) {
                let rest = queue.events.split_off(&sequence.saturating_add(1));
                let done = std::mem::replace(&mut queue.events, rest);
                places.extend(done.into_values().flat_map(|(_, places)| places));
                if queue.events.is_empty() {
                    self.lanes.remove(lane);
                }
            }
        }
        self.len -= places.len();
        places
    }

    /// Forgets lanes until at most `max` entries wait. They are not acknowledged, so they come again.
    pub(super) fn shrink(&mut self, max: usize) {
        while self.len > max
            && let Some((_, queue)) = self.lanes.pop_last()
        {
            self.len -= queue.events.values().map(|(_, places)| places.len()).sum::<usize>();
        }
    }
}

/// Entries with an event in them, and the places of the others.
pub(super) fn sort(entries: Vec<Entry>) -> (Vec<(Event, Place)>, Vec<Place>) {
    let (mut events, mut unreadable) = (Vec::new(), Vec::new());
    for Entry { stream, id, event } in entries {
        match event {
            Ok(event) => events.push((event, (stream, id))),
            Err(error) => {
                tracing::error!(%error, stream, %id, "entry is no event; passed over");
                unreadable.push((stream, id));
            }
        }
    }
    (events, unreadable)
}

#[cfg(test)]
mod tests;
