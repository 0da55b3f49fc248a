//! A letterbox that forgets, for consumers that keep nothing themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use spillway_types::{Clock, EventId, SystemClock, Timestamp};

use super::{DeadLetter, Letter, LetterCount, LetterState, Letterbox, PageEnd, Standing};
use crate::{StoreError, bus::Lane};

/// The letterbox of a consumer whose effects are in memory only, such as a test's.
#[derive(Debug, Default)]
pub struct MemoryLetterbox {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    cursors: BTreeMap<(String, Lane), i64>,
    letters: BTreeMap<(String, Lane, i64), (Letter, Timestamp)>,
}

// === impl MemoryLetterbox ===

impl MemoryLetterbox {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Content ===

impl Content {
    fn advance(&mut self, consumer: &str, lane: &Lane, sequence: i64) {
        let cursor = self.cursors.entry((consumer.to_owned(), lane.clone())).or_default();
        *cursor = sequence.max(*cursor);
    }

    fn of_lane(&self, consumer: &str, lane: &Lane) -> impl Iterator<Item = &Letter> {
        let lane = (consumer.to_owned(), lane.clone());
        let range = (lane.0.clone(), lane.1.clone(), i64::MIN)..=(lane.0, lane.1, i64::MAX);
        self.letters.range(range).map(|(_, (letter, _))| letter)
    }
}

#[async_trait]
impl Letterbox for MemoryLetterbox {
    async fn standings(&self, consumer: &str, lanes: &BTreeSet<Lane>) -> Result<BTreeMap<Lane, Standing>, StoreError> {
        let content = self.content();
        let standing = |lane: &Lane| Standing {
            taken: content.cursors.get(&(consumer.to_owned(), lane.clone())).copied().unwrap_or_default(),
            is_blocked: content.of_lane(consumer, lane).next().is_some(),
        };
        Ok(lanes.iter().map(|lane| (lane.clone(), standing(lane))).collect())
    }

    async fn advance(&self, consumer: &str, taken: &BTreeMap<Lane, i64>) -> Result<(), StoreError> {
        let mut content = self.content();
        for (lane, sequence) in taken {
            content.advance(consumer, lane, *sequence);
        }
        Ok(())
    }

    async fn put_aside(&self, consumer: &str, letters: &[Letter]) -> Result<(), StoreError> {
        let mut content = self.content();
        for letter in letters {
            let (lane, sequence) = (letter.event.lane(), letter.event.sequence);
            content.advance(consumer, &lane, sequence);
            let place = content.letters.entry((consumer.to_owned(), lane, sequence));
            let (known, _) = place.or_insert_with(|| (Letter { attempts: 0, ..letter.clone() }, SystemClock.now()));
            if letter.state == LetterState::Dead {
                *known = Letter { attempts: known.attempts.saturating_add(letter.attempts), ..letter.clone() };
            }
        }
        Ok(())
    }

    async fn due(&self, consumer: &str, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let content = self.content();
        let mut dead = BTreeSet::new();
        let letters = content.letters.iter().filter(|((whose, lane, _), (letter, _))| {
            if letter.state == LetterState::Dead {
                dead.insert((whose.clone(), lane.clone()));
            }
            whose == consumer && !dead.contains(&(whose.clone(), lane.clone()))
        });
        let letters = letters.take(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(letters.map(|(_, (letter, _))| letter.clone()).collect())
    }

    async fn list(&self, consumer: &str, after: Option<&PageEnd>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let content = self.content();
        let mut letters: Vec<_> = content
            .letters
            .iter()
            .filter(|((whose, ..), _)| consumer.is_empty() || whose == consumer)
            .filter(|(_, (letter, _))| letter.state != LetterState::Held)
            .map(|((whose, ..), (letter, at))| DeadLetter {
                consumer: whose.clone(),
                letter: letter.clone(),
                put_aside_at: *at,
            })
            .filter(|letter| after.is_none_or(|after| letter.page_end() > *after))
            .collect();
        letters.sort_by_key(DeadLetter::page_end);
        letters.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(letters)
    }

    async fn replay(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError> {
        let mut count = 0;
        for ((whose, ..), (letter, _)) in &mut self.content().letters {
            let is_meant = whose == consumer && (events.is_empty() || events.contains(&letter.event.event_id));
            if is_meant && letter.state == LetterState::Dead {
                letter.state = LetterState::Replay;
                count += 1;
            }
        }
        Ok(count)
    }

    async fn remove(&self, consumer: &str, events: &[EventId]) -> Result<u64, StoreError> {
        let mut count = 0;
        self.content().letters.retain(|(whose, ..), (letter, _)| {
            let goes = whose == consumer && events.contains(&letter.event.event_id);
            count += u64::from(goes);
            !goes
        });
        Ok(count)
    }

    async fn count(&self) -> Result<LetterCount, StoreError> {
        let mut count = LetterCount::default();
        for (letter, _) in self.content().letters.values() {
            match letter.state {
                LetterState::Held => count.held += 1,
                LetterState::Dead | LetterState::Replay => count.dead += 1,
            }
        }
        Ok(count)
    }
}
