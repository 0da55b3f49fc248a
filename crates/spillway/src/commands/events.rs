//! `spillway events`: what could not be delivered, and another try for it.
//!
//! Each process answers for the consumers that it runs, so all of them are asked; replicas of a consumer share its letters.

use std::collections::{BTreeMap, BTreeSet};

use clap::{ArgGroup, Args, Subcommand};
use spillway_contracts::{
    admin::v1::{
        DeadLetter, ListDeadLettersRequest, ListDeadLettersResponse, ReplayDeadLettersRequest,
        ReplayDeadLettersResponse, event_service_client::EventServiceClient,
    },
    convert::from_timestamp,
};
use spillway_middleware::{Client, status::to_fault};
use spillway_types::{EventId, Fault, Reason, RequestId};

use super::{Context, Key, Limit};
use crate::{
    client::{Peer, pages},
    output::{Failure, table::Table, words::time},
};

/// Most dead letters that are looked through for the consumer of an event: some pages. More of them have one cause, which
/// `--all` is for.
const LOOKED_THROUGH_MAX: u32 = 10_000;

type Process = Peer<EventServiceClient<Client>>;

/// The commands about events.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// List events that consumers have put aside, oldest first
    DeadLetters(DeadLetters),
    /// Offer dead letters to their consumers again
    Replay(Replay),
}

/// Options of `events dead-letters`.
#[derive(Debug, Args)]
pub(crate) struct DeadLetters {
    /// Only those of this consumer
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    consumer: String,
    #[command(flatten)]
    limit: Limit,
}

/// Options of `events replay`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["events", "all"]))]
pub(crate) struct Replay {
    /// Which events, by their ids
    #[arg(value_name = "EVENT")]
    events: Vec<EventId>,
    /// All that the consumer has put aside
    #[arg(long, requires = "consumer")]
    all: bool,
    /// Whose; looked up by the events when left away
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    #[command(flatten)]
    key: Key,
}

/// Does it.
pub(crate) async fn run(command: EventsCommand, context: &Context) -> Result<(), Failure> {
    let mut processes = context.platform.processes()?;
    if processes.is_empty() {
        let failure = Failure::arguments("no process listens for operators");
        return Err(failure.with_next("set admin.listen, or say in peers.admin where they listen"));
    }
    match command {
        EventsCommand::DeadLetters(list) => list.run(&mut processes, context).await,
        EventsCommand::Replay(replay) => replay.run(&mut processes, context).await,
    }
}

/// Dead letters of all processes, each once, oldest first; at most `limit`, and a token if there are more.
async fn dead_letters(
    processes: &mut [Process],
    consumer: &str,
    limit: u32,
) -> Result<ListDeadLettersResponse, Failure> {
    let (mut all, mut more) = (BTreeMap::new(), String::new());
    for peer in processes {
        let (letters, next) = pages(limit, async |page_size, page_token| {
            let request = peer.ask(ListDeadLettersRequest { consumer: consumer.to_owned(), page_size, page_token });
            let listed = peer.client.list_dead_letters(request).await;
            let page = peer.answer("dead letters cannot be listed", listed)?;
            Ok((page.dead_letters, page.next_page_token))
        })
        .await?;
        all.extend(letters.into_iter().map(|letter| (place(&letter), letter)));
        more = if next.is_empty() { more } else { next };
    }
    let mut dead_letters: Vec<DeadLetter> = all.into_values().collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if dead_letters.len() > limit {
        dead_letters.truncate(limit);
        // No one process can go on from here; that there is more is all that the token says.
        more = "more".to_owned();
    }
    Ok(ListDeadLettersResponse { dead_letters, next_page_token: more })
}

/// Where a letter stands in the list, which is also what tells it from others.
fn place(letter: &DeadLetter) -> (Option<spillway_types::Timestamp>, String, String) {
    (letter.create_time.map(from_timestamp), event_id(letter).to_owned(), letter.consumer.clone())
}

fn event_id(letter: &DeadLetter) -> &str {
    letter.event.as_ref().map_or("", |event| event.event_id.as_str())
}

// === impl DeadLetters ===

impl DeadLetters {
    async fn run(self, processes: &mut [Process], context: &Context) -> Result<(), Failure> {
        let Self { consumer, limit } = self;
        let answer = dead_letters(processes, &consumer, limit.limit).await?;
        context.output.answer(&answer, |answer| {
            let headings = ["EVENT", "CONSUMER", "TOPIC", "KEY", ">SEQUENCE", ">ATTEMPTS", "PUT ASIDE", "LAST ERROR"];
            let table = Table::new(headings).rows(answer.dead_letters.iter().map(row));
            limit.and_more(table.or("No dead letters."), &answer.next_page_token)
        })
    }
}

fn row(letter: &DeadLetter) -> [String; 8] {
    let event = letter.event.clone().unwrap_or_default();
    [
        event.event_id,
        letter.consumer.clone(),
        event.topic,
        event.key,
        event.sequence.to_string(),
        letter.attempts.to_string(),
        time(letter.create_time),
        letter.last_error.clone(),
    ]
}

// === impl Replay ===

impl Replay {
    async fn run(self, processes: &mut [Process], context: &Context) -> Result<(), Failure> {
        let request_id = self.key.get();
        let events: BTreeSet<String> = self.events.iter().map(EventId::to_string).collect();
        let wanted = match self.consumer {
            Some(consumer) => BTreeMap::from([(consumer, events.into_iter().collect())]),
            None => by_consumer(processes, events).await?,
        };
        let mut replayed_count = 0;
        for (consumer, event_ids) in wanted {
            replayed_count += replay(processes, request_id, &consumer, &event_ids).await?;
        }
        let answer = ReplayDeadLettersResponse { replayed_count };
        context.output.answer(&answer, |answer| match answer.replayed_count {
            0 => "Nothing to replay: all of it was taken or is on its way.".to_owned(),
            count => format!("{count} offered again; what fails again is put aside again."),
        })
    }
}

/// The events by the consumers that have put them aside.
async fn by_consumer(
    processes: &mut [Process],
    mut events: BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let known = dead_letters(processes, "", LOOKED_THROUGH_MAX).await?.dead_letters;
    for letter in known.iter().filter(|letter| events.contains(event_id(letter))) {
        wanted.entry(letter.consumer.clone()).or_default().push(event_id(letter).to_owned());
    }
    for id in wanted.values().flatten() {
        events.remove(id);
    }
    match events.pop_first() {
        Some(unknown) => Err(Failure::call("nothing was replayed", Fault::not_found("dead letter", unknown))),
        None => Ok(wanted),
    }
}

/// Asks the processes one by one until one runs the consumer.
async fn replay(
    processes: &mut [Process],
    request_id: RequestId,
    consumer: &str,
    event_ids: &[String],
) -> Result<i64, Failure> {
    let what = "nothing was replayed";
    for peer in processes {
        let request = peer.ask(ReplayDeadLettersRequest {
            request_id: request_id.to_string(),
            consumer: consumer.to_owned(),
            event_ids: event_ids.to_vec(),
        });
        match peer.client.replay_dead_letters(request).await {
            Err(status) if to_fault(&status).reason == Reason::NotFound => {}
            replayed => return Ok(peer.done(what, request_id, replayed)?.replayed_count),
        }
    }
    Err(Failure::call(what, Fault::not_found("consumer", consumer)))
}

#[cfg(test)]
mod tests;
