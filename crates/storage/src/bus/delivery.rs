//! Offering events to one consumer, so that an event which it can never take holds up nothing but its own lane.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Consumer, Event, Lane, Letterbox, NotTaken,
    letterbox::{Letter, LetterState, Standing},
};

/// How often an event is offered before it is put aside for its own sake. What was only a moment's trouble is over by
/// then; what is not will not get better by itself.
const ATTEMPTS_MAX: u32 = 5;
/// Pause after the first of these attempts; doubles, so that all of them together hold up the others for a third of a
/// second.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
/// How often a consumer looks for letters that may be offered again; an operator who replays one waits this long.
const REPLAY_POLL: Duration = Duration::from_secs(1);
/// Letters that are offered again in one go.
const REPLAY_MAX: u32 = 256;

/// One consumer, and where it puts aside what it cannot take.
pub(super) struct Delivery {
    consumer: Arc<dyn Consumer>,
    letterbox: Arc<dyn Letterbox>,
}

// === impl Delivery ===

impl Delivery {
    pub(super) fn new(consumer: Arc<dyn Consumer>, letterbox: Arc<dyn Letterbox>) -> Self {
        Self { consumer, letterbox }
    }

    pub(super) fn name(&self) -> &'static str {
        self.consumer.name()
    }

    pub(super) fn topics(&self) -> &'static [&'static str] {
        self.consumer.topics()
    }

    pub(super) fn letterbox(&self) -> (&'static str, Arc<dyn Letterbox>) {
        (self.name(), Arc::clone(&self.letterbox))
    }

    pub(super) fn wants(&self, event: &Event) -> bool {
        self.topics().contains(&event.topic.as_str())
    }

    /// How far each of these lanes is.
    pub(super) async fn standings(&self, lanes: &BTreeSet<Lane>) -> Result<BTreeMap<Lane, Standing>, NotTaken> {
        self.letterbox.standings(self.name(), lanes).await.map_err(|error| NotTaken::for_now(self.name(), error))
    }

    /// Notes how far lanes are now.
    pub(super) async fn advance(&self, taken: &BTreeMap<Lane, i64>) -> Result<(), NotTaken> {
        self.letterbox.advance(self.name(), taken).await.map_err(|error| NotTaken::for_now(self.name(), error))
    }

    /// Delivers what an outbox publishes in order, so that only blocked lanes have to be asked for.
    pub(super) async fn deliver_published(&self, events: Vec<Event>) -> Result<(), NotTaken> {
        if events.is_empty() {
            return Ok(());
        }
        let standings = self.standings(&events.iter().map(Event::lane).collect()).await?;
        let blocked = standings.into_iter().filter(|(_, standing)| standing.is_blocked).map(|(lane, _)| lane);
        self.deliver(events, blocked.collect()).await
    }

    /// Delivers events that are next in their lanes. When it returns, each is taken or put aside, durably.
    pub(super) async fn deliver(&self, events: Vec<Event>, mut blocked: BTreeSet<Lane>) -> Result<(), NotTaken> {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            let (held, free): (Vec<_>, Vec<_>) = part.into_iter().partition(|event| blocked.contains(&event.lane()));
            self.put_aside(held.into_iter().map(Letter::held).collect()).await?;
            match (self.offer(&free).await, free.as_slice()) {
                (Ok(()), _) => {}
                (Err(error), _) if !error.poison => return Err(error),
                (Err(error), [event]) => {
                    if let Some(letter) = self.insist(event, error).await? {
                        self.put_aside(vec![letter]).await?;
                        blocked.insert(event.lane());
                    }
                }
                // One of several is the trouble: halves tell which, in few rounds and still in order.
                (Err(_), _) => {
                    let (first, second) = free.split_at(free.len() / 2);
                    parts.extend([second.to_vec(), first.to_vec()]);
                }
            }
        }
        Ok(())
    }

    async fn offer(&self, events: &[Event]) -> Result<(), NotTaken> {
        if events.is_empty() { Ok(()) } else { self.consumer.take(events.to_vec()).await }
    }

    /// Offers a single event some more times. Answers the letter to put aside if none of them helped.
    async fn insist(&self, event: &Event, mut error: NotTaken) -> Result<Option<Letter>, NotTaken> {
        let mut pause = ATTEMPT_PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            tokio::time::sleep(pause).await;
            pause *= 2;
            match self.offer(std::slice::from_ref(event)).await {
                Ok(()) => return Ok(None),
                Err(again) if again.poison => error = again,
                Err(other) => return Err(other),
            }
        }
        let Event { event_id, topic, key, sequence, .. } = event;
        let (consumer, problem) = (self.name(), &error.problem);
        tracing::error!(consumer, %event_id, topic, key, sequence, problem, "event put aside; its lane waits behind it");
        Ok(Some(Letter::dead(event.clone(), ATTEMPTS_MAX, error.problem)))
    }

    async fn put_aside(&self, letters: Vec<Letter>) -> Result<(), NotTaken> {
        if letters.is_empty() {
            return Ok(());
        }
        self.letterbox.put_aside(self.name(), &letters).await.map_err(|error| NotTaken::for_now(self.name(), error))
    }

    /// Offers letters again that an operator wants replayed, and those that waited behind them.
    pub(super) async fn replay_until(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REPLAY_POLL) => {}
            }
            loop {
                match self.replay().await {
                    Ok(0) => break,
                    Ok(count) => tracing::info!(consumer = self.name(), count, "letters taken after all"),
                    Err(error) => {
                        tracing::warn!(%error, "letters not taken; they are offered again");
                        break;
                    }
                }
            }
        }
    }

    /// Answers how many letters are gone now.
    async fn replay(&self) -> Result<usize, NotTaken> {
        let due = self.letterbox.due(self.name(), REPLAY_MAX).await;
        let due = due.map_err(|error| NotTaken::for_now(self.name(), error))?;
        let (mut blocked, mut count) = (BTreeSet::new(), 0);
        for letter in due {
            let lane = letter.event.lane();
            if blocked.contains(&lane) {
                continue;
            }
            let refused = match self.offer(std::slice::from_ref(&letter.event)).await {
                Ok(()) => None,
                Err(error) if error.poison => self.insist(&letter.event, error).await?,
                Err(error) => return Err(error),
            };
            if let Some(letter) = refused {
                self.put_aside(vec![letter]).await?;
                blocked.insert(lane);
            } else {
                let gone = self.letterbox.remove(self.name(), &[letter.event.event_id]).await;
                gone.map_err(|error| NotTaken::for_now(self.name(), error))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("consumer", &self.name()).field("letterbox", &self.letterbox).finish()
    }
}

// === impl Letter ===

impl Letter {
    fn held(event: Event) -> Self {
        Self { event, state: LetterState::Held, attempts: 0, last_error: String::new() }
    }

    fn dead(event: Event, attempts: u32, last_error: String) -> Self {
        Self { event, state: LetterState::Dead, attempts, last_error }
    }
}
