//! The bus over Redis, while Redis loses, repeats, disorders or is away, and replicas die.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use spillway_storage::{
    bus::{Bus, Consumer, Event, NotTaken, RedisBus},
    outbox::Relay,
    redis::Redis,
};
use spillway_testkit::{
    proxy::{Direction, Fault, Proxy},
    servers::{self, RedisServer},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Wire, keys},
    common::{Backend, Ear, event, number, redis, until},
};

async fn over(redis: &Redis, backend: Backend) -> (Wire, RedisBus) {
    let bus = RedisBus::new(redis.clone());
    (Wire::new(backend, Arc::new(bus.clone())).await, bus)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_and_a_restart_in_the_middle_lose_nothing() {
    for backend in Backend::ALL {
        println!("on {backend:?}");
        let server = RedisServer::private().await;
        let redis = redis(server.url());
        redis.up().await;
        let (wire, bus) = over(&redis, backend).await;
        let ear = wire.subscribe(Ear::on(wire.topic));
        wire.relay();
        let keys = keys(40);
        wire.say(&keys, 1..=2).await;
        ear.hears_all(&keys, 2).await;
        for last in [4, 6, 8, 10] {
            // The last ones of a lane are the test: nothing comes behind them that would show a gap.
            wire.say(&keys, last - 1..=last - 1).await;
            let restarts = bus.repairs().restarts;
            if last % 4 == 0 {
                wire.say(&keys, last..=last).await;
                server.flushall().await;
            } else {
                server.kill().await;
                wire.say(&keys, last..=last).await;
                server.restart().await;
            }
            ear.hears_all(&keys, last).await;
            until("the loss is noticed", async || bus.repairs().restarts > restarts).await;
        }
        wire.all_published().await;
        println!("{:?}, {} repeats", bus.repairs(), ear.heard.lock().unwrap().repeats);
        assert!(bus.repairs().restarts >= 4, "{:?}", bus.repairs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_lost_data_had_is_published_again_though_it_was_marked() {
    let server = RedisServer::private().await;
    let redis = redis(server.url());
    redis.up().await;
    let (wire, bus) = over(&redis, Backend::Postgres).await;
    wire.relay();
    let keys = keys(40);
    wire.say(&keys, 1..=2).await;
    // Nobody has read anything yet.
    wire.all_published().await;
    server.flushall().await;
    let ear = wire.subscribe(Ear::on(wire.topic));
    ear.hears_all(&keys, 2).await;
    assert!(bus.repairs().restarts >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_that_lagged_behind_gets_what_it_lacks() {
    let (master, follower) = (RedisServer::private().await, RedisServer::private().await);
    let (front, behind) = (Proxy::to(master.address()).await.unwrap(), Proxy::to(master.address()).await.unwrap());
    let redis = redis(&format!("redis://{}", front.address()));
    redis.up().await;
    let (wire, bus) = over(&redis, Backend::Postgres).await;
    let ear = wire.subscribe(Ear::on(wire.topic));
    wire.relay();
    let keys = keys(40);
    wire.say(&keys, 1..=1).await;
    ear.hears_all(&keys, 1).await;
    follower.replica_of(behind.address()).await;
    behind.set(Direction::Down, Fault::Hole);
    let late: Vec<_> = (0..40).map(|n| format!("late {n}")).collect();
    wire.say(&keys, 2..=2).await;
    wire.say(&late, 1..=1).await;
    ear.hears_all(&keys, 2).await;
    wire.all_published().await;
    // These are marked, and only the master has them.
    let count = ear.count();
    front.set_both(Fault::Cut);
    master.kill().await;
    follower.promote().await;
    front.retarget(follower.address());
    front.heal();
    wire.say(&keys, 3..=3).await;
    ear.hears_all(&keys, 3).await;
    ear.hears_all(&late, 1).await;
    assert!(behind.injected().held > 0, "the replica lagged");
    println!("{:?}, {count} effects before, {} after", bus.repairs(), ear.count());
    assert!(bus.repairs().restarts >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_filled_from_the_outbox() {
    let redis = redis(&servers::redis().await);
    redis.up().await;
    let (wire, bus) = over(&redis, Backend::Postgres).await;
    wire.relay();
    let key = keys(1);
    wire.say(&key, 1..=6).await;
    wire.all_published().await;
    // Out of the stream, in the middle and at the start of the lane; as an operator's mistake would.
    let mut deleted = 0;
    for partition in 0..16 {
        let stream = format!("spillway:events:{{{}:{partition}}}", wire.topic);
        let mut range = spillway_storage::redis::cmd("XRANGE");
        range.arg(&stream).arg("-").arg("+");
        let entries: Vec<(String, Vec<String>)> = redis.query("testing", &range).await.unwrap();
        for (id, fields) in entries {
            let event: Event = serde_json::from_str(&fields[1]).unwrap();
            if [1, 3, 4].contains(&event.sequence) {
                let mut delete = spillway_storage::redis::cmd("XDEL");
                deleted += redis.query::<u32>("testing", delete.arg(&stream).arg(id)).await.unwrap();
            }
        }
    }
    assert!(deleted >= 3, "{deleted}");
    let ear = wire.subscribe(Ear::on(wire.topic));
    ear.hears_all(&key, 6).await;
    assert!(bus.repairs().refills >= 2, "{:?}", bus.repairs());
}

/// Takes the events and never says so, like a process that dies right then.
struct Dying(Ear, Arc<AtomicBool>);

#[async_trait]
impl Consumer for Dying {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn topics(&self) -> &'static [&'static str] {
        self.0.topics()
    }

    async fn take(&self, events: Vec<Event>) -> Result<(), NotTaken> {
        self.0.take(events).await?;
        self.1.store(true, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_replica_did_not_acknowledge_is_taken_over() {
    let redis = redis(&servers::redis().await);
    redis.up().await;
    let (wire, dying_bus) = over(&redis, Backend::Postgres).await;
    let (ear, died) = (Ear::on(wire.topic), Arc::new(AtomicBool::new(false)));
    let dying = Arc::new(Dying(ear.replica(), Arc::clone(&died)));
    dying_bus.subscribe(dying, Arc::clone(&wire.letterbox));
    wire.relay();
    let keys = keys(10);
    wire.say(&keys, 1..=2).await;
    until("a replica died", async || died.load(Ordering::SeqCst)).await;
    wire.say(&keys, 3..=3).await;
    let heir_bus = RedisBus::new(redis.clone());
    let heir = Arc::new(ear.replica());
    heir_bus.subscribe(Arc::clone(&heir) as Arc<dyn Consumer>, wire.consumers.letterbox());
    heir.hears_all(&keys, 3).await;
    until("what it read is taken over", async || heir_bus.repairs().takeovers > 0).await;
    assert!(heir.heard.lock().unwrap().repeats > 0, "effects of the dead one were offered again");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_both_ends_share_the_work_and_keep_the_order() {
    let url = servers::redis().await;
    let redis_a = redis(&url);
    redis_a.up().await;
    let (wire, bus_a) = over(&redis_a, Backend::Postgres).await;
    let one = wire.subscribe(Ear::on(wire.topic));
    // A second process of each.
    let bus_b = RedisBus::new(redis(&url));
    let two = Arc::new(one.replica());
    bus_b.subscribe(Arc::clone(&two) as Arc<dyn Consumer>, wire.consumers.letterbox());
    wire.relay();
    let stop = CancellationToken::new();
    let relay = Relay::new(&wire.publisher.database, wire.publisher.committer.clone());
    tokio::spawn(relay.run(Arc::new(bus_b.clone()), stop.clone()));
    let keys = keys(100);
    wire.say(&keys, 1..=10).await;
    one.hears_all(&keys, 10).await;
    assert_eq!(one.count(), 1_000);
    println!("{:?} and {:?}", bus_a.repairs(), bus_b.repairs());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_have_taken_is_trimmed_and_the_watermark_moves() {
    let redis = redis(&servers::redis().await);
    redis.up().await;
    let (wire, _bus) = over(&redis, Backend::Postgres).await;
    let ear = wire.subscribe(Ear::on(wire.topic));
    wire.relay();
    let keys = keys(50);
    wire.say(&keys, 1..=2).await;
    ear.hears_all(&keys, 2).await;
    let length = async || {
        let mut total = 0;
        for partition in 0..16 {
            let stream = format!("spillway:events:{{{}:{partition}}}", wire.topic);
            let mut length = spillway_storage::redis::cmd("XLEN");
            total += redis.query::<u64>("testing", length.arg(stream)).await.unwrap();
        }
        total
    };
    until("the streams are empty", async || length().await == 0).await;
    let moved = "select count(*) from event_stream where watermark > 0";
    until("the watermark moves", async || number(&wire.publisher.database, moved).await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_fills_up_to_its_limit_and_loses_nothing() {
    let server = RedisServer::private().await;
    let redis = redis(server.url());
    redis.up().await;
    let (wire, bus) = over(&redis, Backend::Postgres).await;
    // The relay has said what it publishes, and attends to it.
    wire.relay();
    wire.say(&["real".to_owned()], 1..=1).await;
    wire.all_published().await;
    // A heap of events that somebody else has put there.
    let fillers: Vec<_> = (0..1_000).map(|n| event(wire.topic, &format!("filler {n}"), 1)).collect();
    let mut published = 0;
    while bus.check().is_ok() {
        if bus.publish(&fillers).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        published += 1;
        assert!(published < 2_000, "no limit after {published} batches");
    }
    let keys = keys(100);
    wire.say(&keys, 1..=1).await;
    let refused = bus.publish(&keys.iter().map(|key| event(wire.topic, key, 1)).collect::<Vec<_>>()).await;
    assert!(refused.is_err(), "a full stream takes nothing more");
    let ear = wire.subscribe(Ear::on(wire.topic));
    ear.hears_all(&keys, 1).await;
    ear.hears_all(&["real".to_owned()], 1).await;
    until("there is room again", async || bus.check().is_ok()).await;
    println!("full after {published} batches");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_leaves_nothing_for_others_to_take_over() {
    let redis = redis(&servers::redis().await);
    redis.up().await;
    let (wire, leaving) = over(&redis, Backend::Postgres).await;
    let one = wire.subscribe(Ear::on(wire.topic));
    let staying = RedisBus::new(redis.clone());
    let two = Arc::new(one.replica());
    staying.subscribe(Arc::clone(&two) as Arc<dyn Consumer>, wire.consumers.letterbox());
    wire.relay();
    let keys = keys(40);
    let talk = async {
        wire.say(&keys, 1..=20).await;
    };
    let leave = async {
        until("there is work", async || one.count() > 100).await;
        leaving.close().await;
    };
    tokio::join!(talk, leave);
    two.hears_all(&keys, 20).await;
    let unacknowledged = async || {
        let mut total = 0;
        for partition in 0..16 {
            let stream = format!("spillway:events:{{{}:{partition}}}", wire.topic);
            let mut pending = spillway_storage::redis::cmd("XPENDING");
            pending.arg(stream).arg(one.name()).arg("-").arg("+").arg(10);
            total += redis.query::<Vec<(String, String, u64, u64)>>("testing", &pending).await.unwrap().len();
        }
        total
    };
    until("everything is acknowledged", async || unacknowledged().await == 0).await;
    assert_eq!(staying.repairs().takeovers, 0);
}
