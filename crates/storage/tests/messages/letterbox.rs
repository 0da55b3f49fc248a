//! What a consumer's database remembers, the same on every backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use spillway_storage::bus::{
    Event, Letterbox,
    letterbox::{Letter, LetterCount, LetterState, MemoryLetterbox, Standing},
};

use crate::common::{Backend, event};

/// Runs a suite on every kind of letterbox.
async fn on_each(suite: impl AsyncFn(&dyn Letterbox)) {
    println!("in memory");
    suite(&MemoryLetterbox::default()).await;
    for backend in Backend::ALL {
        println!("on {backend:?}");
        let (database, _directory) = backend.database().await;
        let letterbox: Arc<dyn Letterbox> = database.letterbox();
        suite(&*letterbox).await;
    }
}

fn letter(event: &Event, state: LetterState) -> Letter {
    let (attempts, last_error) = if state == LetterState::Dead { (5, "why".to_owned()) } else { (0, String::new()) };
    Letter { event: event.clone(), state, attempts, last_error }
}

async fn standing(letterbox: &dyn Letterbox, consumer: &str, event: &Event) -> (i64, bool) {
    let standings = letterbox.standings(consumer, &BTreeSet::from([event.lane()])).await.unwrap();
    let standing = standings.get(&event.lane()).copied().unwrap_or_default();
    (standing.taken, standing.is_blocked)
}

async fn due(letterbox: &dyn Letterbox) -> Vec<(String, i64, u32)> {
    let due = letterbox.due("ear", 10).await.unwrap();
    due.into_iter().map(|letter| (letter.event.key, letter.event.sequence, letter.attempts)).collect()
}

#[tokio::test]
async fn a_cursor_never_goes_back_and_belongs_to_one_consumer() {
    on_each(async |letterbox| {
        let (a, b) = (event("t", "a", 1), event("t", "b", 1));
        letterbox.advance("ear", &BTreeMap::from([(a.lane(), 4), (b.lane(), 1)])).await.unwrap();
        letterbox.advance("ear", &BTreeMap::from([(a.lane(), 2), (b.lane(), 7)])).await.unwrap();
        let lanes = BTreeSet::from([a.lane(), b.lane(), event("other", "a", 1).lane()]);
        let standings = letterbox.standings("ear", &lanes).await.unwrap();
        let taken: Vec<_> = standings.values().filter(|standing| standing.taken > 0).copied().collect();
        assert_eq!(taken, [4, 7].map(|taken| Standing { taken, is_blocked: false }));
        assert_eq!(standing(letterbox, "another", &a).await, (0, false));
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_blocks_its_lane_until_it_is_replayed_and_taken() {
    on_each(async |letterbox| {
        let lane: Vec<_> = (1..=4).map(|sequence| event("t", "a", sequence)).collect();
        letterbox.put_aside("ear", &[letter(&lane[1], LetterState::Dead)]).await.unwrap();
        letterbox.put_aside("ear", &[letter(&lane[2], LetterState::Held)]).await.unwrap();
        assert_eq!(standing(letterbox, "ear", &lane[0]).await, (3, true), "the lane goes on behind it");
        assert_eq!(standing(letterbox, "another", &lane[0]).await, (0, false));
        assert_eq!(due(letterbox).await, []);
        assert_eq!(letterbox.count().await.unwrap(), LetterCount { dead: 1, held: 1 });

        // Delivered again, as events are: still dead, and still once.
        letterbox.put_aside("ear", &[letter(&lane[1], LetterState::Held)]).await.unwrap();
        assert_eq!((due(letterbox).await, letterbox.list("ear", None, 10).await.unwrap().len()), (vec![], 1));

        assert_eq!(letterbox.replay("ear", &[lane[1].event_id]).await.unwrap(), 1);
        assert_eq!(letterbox.replay("ear", &[lane[1].event_id]).await.unwrap(), 0, "it is asked for already");
        let expected = [("a".to_owned(), 2, 5), ("a".to_owned(), 3, 0)];
        assert_eq!(due(letterbox).await, expected);

        // Refused again: attempts add up, and the lane is blocked again.
        letterbox.put_aside("ear", &[letter(&lane[1], LetterState::Dead)]).await.unwrap();
        assert_eq!(due(letterbox).await, []);
        let dead = letterbox.list("", None, 10).await.unwrap();
        assert_eq!(
            (dead[0].letter.attempts, dead[0].letter.last_error.as_str(), dead[0].consumer.as_str()),
            (10, "why", "ear")
        );
        assert_eq!(dead[0].letter.event, lane[1], "every field survives");

        // Given up: what waited behind it is due.
        assert_eq!(letterbox.remove("ear", &[lane[1].event_id]).await.unwrap(), 1);
        assert_eq!(due(letterbox).await, [("a".to_owned(), 3, 0)]);
        assert_eq!(letterbox.remove("ear", &[lane[2].event_id]).await.unwrap(), 1);
        assert_eq!(standing(letterbox, "ear", &lane[0]).await, (3, false));
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_listed_oldest_first_page_by_page() {
    on_each(async |letterbox| {
        let mut put_aside = Vec::new();
        for (n, consumer) in ["ear", "ear", "nose", "ear", "nose"].into_iter().enumerate() {
            let event = event("t", &format!("key {n}"), 1);
            letterbox.put_aside(consumer, &[letter(&event, LetterState::Dead)]).await.unwrap();
            put_aside.push((event.event_id, consumer));
        }
        for (consumer, count) in [("", 5), ("ear", 3), ("nose", 2), ("mouth", 0)] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = letterbox.list(consumer, after.as_ref(), 2).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.page_end());
                listed.extend(page.iter().map(|letter| (letter.letter.event.event_id, letter.consumer.clone())));
            }
            assert_eq!(listed.len(), count, "{consumer}");
            let expected: BTreeSet<_> = put_aside
                .iter()
                .filter(|(_, whose)| consumer.is_empty() || *whose == consumer)
                .map(|(id, whose)| (*id, (*whose).to_owned()))
                .collect();
            assert_eq!(BTreeSet::from_iter(listed), expected, "{consumer}");
        }
        assert_eq!(letterbox.replay("nose", &[]).await.unwrap(), 2, "all of one consumer");
        assert_eq!(letterbox.count().await.unwrap(), LetterCount { dead: 5, held: 0 });
    })
    .await;
}
