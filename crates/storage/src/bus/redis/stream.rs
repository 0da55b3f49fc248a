//! Names of keys, entries, and the commands on them.

use std::collections::HashMap;

use deadpool_redis::redis::{
    Value, from_redis_value_ref,
    streams::{StreamAutoClaimReply, StreamId, StreamReadReply},
};

use crate::{
    StoreError,
    bus::{Event, Lane},
    redis::{Pipeline, cmd},
};

/// Streams of a topic, so that a cluster can spread them. Changing it moves lanes to other streams, which costs nothing
/// but refills.
pub(super) const PARTITIONS: u32 = 16;
/// The one field of an entry: the event as JSON.
const FIELD: &str = "event";

/// Requests for missing events that are kept, a topic.
const REQUESTS_MAX: i64 = 10_000;
/// How long they are kept, in milliseconds; a consumer that still misses something asks again long before.
const REQUESTS_KEPT_MS: i64 = 60_000;

/// An entry's place in its stream; in the order of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    millis: u64,
    sequence: u64,
}

/// Something that was read from a stream: an event, unless somebody else writes there.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stream: String,
    pub(super) id: EntryId,
    pub(super) event: Result<Event, StoreError>,
}

/// The stream of a lane. Streams of one topic and partition share a hash tag with nothing else.
pub(super) fn name(topic: &str, partition: u32) -> String {
    format!("spillway:events:{{{topic}:{partition}}}")
}

/// The streams of a topic.
pub(super) fn all(topic: &str) -> impl Iterator<Item = String> {
    (0..PARTITIONS).map(move |partition| name(topic, partition))
}

/// The list of lanes whose events a consumer misses.
pub(super) fn refills(topic: &str) -> String {
    format!("spillway:refills:{{{topic}}}")
}

/// The stream that an event belongs in: by 32-bit FNV-1a of its key.
pub(super) fn of(event: &Event) -> String {
    let bytes = event.key.bytes();
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    name(&event.topic, hash % PARTITIONS)
}

/// Adds an event to its stream.
pub(super) fn add(pipeline: &mut Pipeline, stream: &str, event: &Event) -> Result<(), serde_json::Error> {
    let json = serde_json::to_string(event)?;
    pipeline.add_command(cmd("XADD").arg(stream).arg("*").arg(FIELD).arg(json).clone()).ignore();
    Ok(())
}

/// Entries in the answer of XREADGROUP; none when it is nil.
pub(super) fn read(reply: StreamReadReply) -> Vec<Entry> {
    let of_stream = |stream: String, ids: Vec<StreamId>| {
        ids.into_iter().filter_map(move |id| Entry::parse(stream.clone(), &id)).collect::<Vec<_>>()
    };
    reply.keys.into_iter().flat_map(|key| of_stream(key.key, key.ids)).collect()
}

/// Entries in the answer of XAUTOCLAIM on `stream`.
pub(super) fn claimed(stream: &str, reply: &StreamAutoClaimReply) -> Vec<Entry> {
    reply.claimed.iter().filter_map(|id| Entry::parse(stream.to_owned(), id)).collect()
}

/// Asks for what [`request`] says. Requests that nobody serves are repeated, so none has to be kept.
pub(super) fn ask(pipeline: &mut Pipeline, topic: &str, request: String) {
    let list = refills(topic);
    pipeline.cmd("RPUSH").arg(&list).arg(request).ignore();
    pipeline.cmd("LTRIM").arg(&list).arg(-REQUESTS_MAX).arg(-1).ignore();
    pipeline.cmd("PEXPIRE").arg(&list).arg(REQUESTS_KEPT_MS).ignore();
}

/// A request for the events of a lane from one sequence to another.
pub(super) fn request(lane: &Lane, from: i64, to: i64) -> Result<String, serde_json::Error> {
    serde_json::to_string(&(&lane.key, from, to))
}

/// What [`request`] wrote.
pub(super) fn requested(topic: &str, text: &str) -> Result<(Lane, i64, i64), serde_json::Error> {
    let (key, from, to) = serde_json::from_str(text)?;
    Ok((Lane { topic: topic.to_owned(), key }, from, to))
}

// === impl Entry ===

impl Entry {
    /// None for an id that is no id, which no server sends.
    fn parse(stream: String, id: &StreamId) -> Option<Self> {
        let event = event(&id.map);
        Some(Self { stream, id: EntryId::parse(&id.id)?, event })
    }
}

fn event(fields: &HashMap<String, Value>) -> Result<Event, StoreError> {
    let value = fields.get(FIELD).ok_or_else(|| StoreError::corrupt("an entry without an event"))?;
    let json: String = from_redis_value_ref(value).map_err(StoreError::corrupt)?;
    serde_json::from_str(&json).map_err(StoreError::corrupt)
}

// === impl EntryId ===

impl EntryId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (millis, sequence) = text.split_once('-')?;
        Some(Self { millis: millis.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_ordered_as_in_their_stream_and_not_as_their_text() {
        let id = |text| EntryId::parse(text).unwrap();
        assert!(id("9-9") < id("10-0") && id("10-2") < id("10-10"));
        assert_eq!((id("7-1").to_string(), EntryId::parse("7")), ("7-1".to_owned(), None));
    }

    #[test]
    fn streams_of_one_partition_have_one_hash_tag() {
        assert_eq!(name("order.state", 3), "spillway:events:{order.state:3}");
        assert_eq!(all("t").count(), 16);
    }
}
