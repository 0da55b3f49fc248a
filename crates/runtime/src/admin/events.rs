//! `EventService`: the events that could not be delivered, and another try for them.

use std::{fmt, sync::Arc};

use spillway_contracts::{
    admin::v1::{
        DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse, ReplayDeadLettersRequest,
        ReplayDeadLettersResponse, event_service_server::EventService,
    },
    convert::{self, to_timestamp},
    page,
    types::v1 as types,
};
use spillway_middleware::status::from_fault;
use spillway_storage::bus::{
    self, Bus, Event,
    letterbox::{Letterbox, PageEnd},
};
use spillway_types::{EventId, Fault, Timestamp, Violations};
use tonic::{Request, Response, Status};

/// What the payload of every event is.
const JSON: &str = "application/json";
/// Most events that one call replays by name: a page of them.
const EVENTS_MAX: usize = 500;

/// The handlers.
pub(super) struct Events {
    bus: Arc<dyn Bus>,
}

/// Where a page ends, as its token says it.
type Cursor = (i64, EventId, String);

// === impl Events ===

impl Events {
    pub(super) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus }
    }

    async fn list(&self, request: &ListDeadLettersRequest) -> Result<ListDeadLettersResponse, Fault> {
        let mut wrong = Violations::default();
        let size = page::page_size(request.page_size, &mut wrong);
        let after = page::decode::<Cursor>(&request.page_token, &mut wrong);
        let (size, after) = wrong.finish(size.zip(after))?;
        let after = after.map(|(micros, event_id, consumer)| PageEnd {
            put_aside_at: Timestamp::from_micros(micros),
            event_id,
            consumer,
        });
        let mut letters = Vec::new();
        for (consumer, letterbox) in self.of(&request.consumer) {
            letters.extend(letterbox.list(consumer, after.as_ref(), size + 1).await?);
        }
        letters.sort_by_cached_key(|letter| letter.page_end());
        let (letters, next_page_token) = page::cut(letters, size, |last| {
            let PageEnd { put_aside_at, event_id, consumer } = last.page_end();
            (put_aside_at.as_micros(), event_id, consumer)
        });
        Ok(ListDeadLettersResponse { dead_letters: letters.into_iter().map(dead_letter).collect(), next_page_token })
    }

    async fn replay(&self, request: &ReplayDeadLettersRequest) -> Result<ReplayDeadLettersResponse, Fault> {
        let mut wrong = Violations::default();
        // The letters themselves say whether there is anything left to do, so the key needs no memory.
        let key = convert::request_id("request_id", &request.request_id, &mut wrong);
        let consumer = convert::required_text("consumer", &request.consumer, &mut wrong);
        if request.event_ids.len() > EVENTS_MAX {
            wrong.add("event_ids", format!("must be at most {EVENTS_MAX}, are {}", request.event_ids.len()));
        }
        let events: Vec<Option<EventId>> = (0..)
            .zip(&request.event_ids)
            .map(|(index, id)| convert::parsed(&format!("event_ids[{index}]"), id, &mut wrong))
            .collect();
        let events: Option<Vec<EventId>> = events.into_iter().collect();
        let (_, (consumer, events)) = wrong.finish(key.zip(consumer.zip(events)))?;
        let known = self.of(&consumer);
        if known.is_empty() {
            return Err(Fault::not_found("consumer", &consumer));
        }
        let mut replayed = 0;
        for (consumer, letterbox) in known {
            replayed += letterbox.replay(consumer, &events).await?;
        }
        tracing::info!(consumer, replayed, "dead letters are offered again, as an operator asked");
        Ok(ReplayDeadLettersResponse { replayed_count: i64::try_from(replayed).unwrap_or(i64::MAX) })
    }

    /// Consumers of this process of that name, or all of them, each with its letters.
    fn of(&self, consumer: &str) -> Vec<(&'static str, Arc<dyn Letterbox>)> {
        let mut known = self.bus.letterboxes();
        known.retain(|(name, _)| consumer.is_empty() || *name == consumer);
        known
    }
}

fn dead_letter(dead: bus::letterbox::DeadLetter) -> DeadLetter {
    let bus::letterbox::DeadLetter { consumer, letter, put_aside_at } = dead;
    let Event { event_id, topic, key, sequence, occurred_at, payload } = letter.event;
    DeadLetter {
        event: Some(types::Event {
            event_id: event_id.to_string(),
            topic,
            key,
            sequence,
            occur_time: Some(to_timestamp(occurred_at)),
            traceparent: String::new(),
            payload_type: JSON.to_owned(),
            payload: payload.into_bytes(),
        }),
        consumer,
        attempts: letter.attempts,
        last_error: letter.last_error,
        create_time: Some(to_timestamp(put_aside_at)),
    }
}

fn answered<T>(result: Result<T, Fault>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(from_fault)
}

#[tonic::async_trait]
impl EventService for Events {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        answered(self.list(request.get_ref()).await)
    }

    async fn replay_dead_letters(
        &self,
        request: Request<ReplayDeadLettersRequest>,
    ) -> Result<Response<ReplayDeadLettersResponse>, Status> {
        answered(self.replay(request.get_ref()).await)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
