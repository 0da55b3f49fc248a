use spillway_testkit::servers;

use super::*;
use crate::{
    bus::{Event, RedisBus},
    config::RedisConfig,
    redis::Redis,
};

fn progress(end: &str, below: Option<&str>) -> BTreeMap<String, Progress> {
    let id = |text| EntryId::parse(text).unwrap();
    let progress = Progress { length: 1, end: id(end), acknowledged_below: below.map(id) };
    BTreeMap::from([("s".to_owned(), progress)])
}

#[test]
fn only_what_every_group_has_acknowledged_has_arrived() {
    let ends = BTreeMap::from([("s".to_owned(), EntryId::parse("7-1").unwrap())]);
    let candidate = Candidate { at: Timestamp::from_micros(1), ends };
    for (below, arrived) in [(None, false), (Some("7-1"), false), (Some("7-2"), true), (Some("8-0"), true)] {
        assert_eq!(candidate.has_arrived(&progress("9-0", below)), arrived, "{below:?}");
    }
    assert!(!candidate.has_arrived(&BTreeMap::new()), "a stream that was not seen tells nothing");
}

#[test]
fn a_topic_is_unheard_after_a_good_while_and_never_once_it_was_heard() {
    let (mut audience, start) = (Audience::default(), Instant::now());
    let later = |seconds| start + Duration::from_secs(seconds);
    assert!(!audience.is_unheard("t", start) && !audience.is_unheard("t", later(59)));
    assert!(audience.is_unheard("t", later(60)) && !audience.is_unheard("other", later(60)));
    audience.heard.insert("t".to_owned());
    assert!(!audience.is_unheard("t", later(1_000)));
}

#[tokio::test]
async fn a_stream_without_a_group_is_trimmed_to_a_bound_and_one_with_a_group_by_what_it_has_acknowledged() {
    let config = RedisConfig { url: servers::redis().await, password_file: "".into(), connections: 1, timeout_ms: 500 };
    let redis = Redis::new(&config).unwrap();
    redis.up().await;
    redis.history().await.unwrap();
    let (bus, topic) = (RedisBus::new(redis.clone()), format!("test.{:016x}", rand::random::<u64>()));
    let event = |sequence| Event {
        event_id: spillway_types::EventId::random(),
        topic: topic.clone(),
        key: "a".to_owned(),
        sequence,
        occurred_at: Timestamp::from_micros(1),
        payload: String::new(),
    };
    let events: Vec<_> = (1..=10).map(event).collect();
    let stream = stream::of(&events[0]);
    bus.shared.publish(&events).await.unwrap();
    let look = async |kept| look(&bus.shared, &topic, kept).await.unwrap()[&stream];

    let first = look(None).await;
    assert_eq!((first.length, first.acknowledged_below), (10, None), "nobody has said that it is of no use");
    assert_eq!(look(Some(4)).await, Progress { length: 4, ..first });

    let join = cmd("XGROUP").arg("CREATE").arg(&stream).arg("g").arg("0").clone();
    redis.query::<()>("testing", &join).await.unwrap();
    assert_eq!(look(Some(1)).await.length, 4, "a group has a right to all of it");
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg("g").arg("m").arg("COUNT").arg(3).arg("STREAMS").arg(&stream).arg(">");
    let read: deadpool_redis::redis::streams::StreamReadReply = redis.query("testing", &read).await.unwrap();
    let ids: Vec<_> = read.keys[0].ids.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(look(None).await.length, 4, "read is not acknowledged");
    // The second and the third; the first is still open.
    redis.query::<()>("testing", cmd("XACK").arg(&stream).arg("g").arg(&ids[1..])).await.unwrap();
    let held = look(None).await;
    assert_eq!((held.length, held.acknowledged_below), (4, EntryId::parse(&ids[0])));
    redis.query::<()>("testing", cmd("XACK").arg(&stream).arg("g").arg(&ids[..1])).await.unwrap();
    let done = look(None).await;
    assert_eq!((done.length, done.end), (1, first.end), "the fourth was never read");
    assert!(done.acknowledged_below > EntryId::parse(&ids[2]) && done.acknowledged_below <= Some(done.end));
}
