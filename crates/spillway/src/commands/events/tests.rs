use std::sync::Arc;

use spillway_runtime::{Admin, ServerConfig};
use spillway_storage::bus::{
    Bus, Consumer, Event, InProcessBus, Letterbox, NotTaken,
    letterbox::{Letter, LetterState, MemoryLetterbox},
};
use spillway_types::Timestamp;

use super::*;
use crate::{client::Platform, config::Settings};

/// Takes nothing; what it would have to take is in its letterbox.
struct Idle(&'static str);

#[tonic::async_trait]
impl Consumer for Idle {
    fn name(&self) -> &'static str {
        self.0
    }

    fn topics(&self) -> &'static [&'static str] {
        &["test"]
    }

    async fn take(&self, _: Vec<Event>) -> Result<(), NotTaken> {
        Ok(())
    }
}

/// A process that runs a consumer.
async fn process(consumer: &'static str, letterbox: &Arc<MemoryLetterbox>) -> Admin {
    let bus = InProcessBus::default();
    bus.subscribe(Arc::new(Idle(consumer)), Arc::clone(letterbox) as Arc<dyn Letterbox>);
    let settings = Settings::load(None, &[("admin.listen".to_owned(), "127.0.0.1:0".to_owned())]).unwrap();
    Admin::start(&settings.admin, &ServerConfig::default(), &(Arc::new(bus) as Arc<dyn Bus>)).await
}

async fn put_aside(letterbox: &MemoryLetterbox, consumer: &str, keys: std::ops::Range<i64>) -> Vec<String> {
    let letters: Vec<Letter> = keys
        .map(|number| {
            let event = Event {
                event_id: EventId::random(),
                topic: "test".to_owned(),
                key: number.to_string(),
                sequence: 1,
                occurred_at: Timestamp::from_micros(number),
                payload: "{}".to_owned(),
            };
            Letter { event, state: LetterState::Dead, attempts: 5, last_error: "no such colour".to_owned() }
        })
        .collect();
    letterbox.put_aside(consumer, &letters).await.unwrap();
    letters.iter().map(|letter| letter.event.event_id.to_string()).collect()
}

#[tokio::test]
async fn replicas_share_letters_and_events_are_replayed_wherever_their_consumer_runs() {
    let (shared, other) = (Arc::new(MemoryLetterbox::default()), Arc::new(MemoryLetterbox::default()));
    let admins =
        [process("painter", &shared).await, process("painter", &shared).await, process("printer", &other).await];
    let painted = put_aside(&shared, "painter", 0..3).await;
    let printed = put_aside(&other, "printer", 3..5).await;
    let places: Vec<_> = admins.iter().map(|admin| format!("http://{}", admin.address().unwrap())).collect();
    let settings = Settings::load(None, &[("peers.admin".to_owned(), places.join(","))]).unwrap();
    let mut processes = Platform::new(settings, None).processes().unwrap();

    let all = dead_letters(&mut processes, "", 50).await.unwrap();
    assert_eq!((all.dead_letters.len(), all.next_page_token.as_str()), (5, ""), "each once: {all:?}");
    let some = dead_letters(&mut processes, "", 2).await.unwrap();
    assert!(some.dead_letters.len() == 2 && !some.next_page_token.is_empty(), "{some:?}");

    let two = BTreeSet::from([painted[1].clone(), printed[0].clone()]);
    let wanted = by_consumer(&mut processes, two).await.unwrap();
    let expected = [("painter", &painted[1]), ("printer", &printed[0])];
    assert_eq!(wanted, expected.map(|(consumer, id)| (consumer.to_owned(), vec![id.clone()])).into());
    for (consumer, event_ids) in &wanted {
        assert_eq!(replay(&mut processes, RequestId::random(), consumer, event_ids).await.unwrap(), 1);
    }
    assert_eq!(replay(&mut processes, RequestId::random(), "printer", &[]).await.unwrap(), 1, "the other one");

    let unknown = BTreeSet::from([EventId::random().to_string()]);
    assert!(by_consumer(&mut processes, unknown).await.unwrap_err().to_string().contains("dead letter"));
    let nobody = replay(&mut processes, RequestId::random(), "potter", &[]).await;
    assert!(nobody.unwrap_err().to_string().contains("potter"));
}
