//! Everything at once: two relays, two replicas of a consumer, and whatever can happen to Redis, the network and the
//! database between them, at random.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway_storage::{
    Committer, DataConfig,
    bus::{Bus, Consumer, Event, RedisBus},
    outbox::Relay,
};
use spillway_testkit::{
    proxy::{Direction, Fault, Proxy},
    servers::{Postgres, PrivatePostgres, RedisServer},
};
use tokio_util::sync::CancellationToken;

use crate::common::{Crier, Ear, crier, event, number, open, redis, until};

/// Rounds of one run; each has a fault.
const ROUNDS: u32 = 14;

struct World {
    redis: RedisServer,
    proxy: Proxy,
    postgres: PrivatePostgres,
}

/// A process with a relay and a consumer.
struct Member {
    bus: RedisBus,
    stop: CancellationToken,
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let redis = RedisServer::private().await;
        let proxy = Proxy::to(redis.address()).await.unwrap();
        Self { redis, proxy, postgres: Postgres::private().await }
    }

    /// Something happens, and some of it ends after a while.
    async fn suffer(&self, what: u32, rng: &mut StdRng) {
        let a_while = Duration::from_millis(rng.random_range(50..900));
        println!("fault {what} for {a_while:?}");
        match what {
            0 => self.redis.flushall().await,
            1 => {
                self.redis.kill().await;
                tokio::time::sleep(a_while).await;
                self.redis.restart().await;
            }
            2 => {
                self.redis.freeze().await;
                tokio::time::sleep(a_while).await;
                self.redis.thaw().await;
            }
            3 => {
                self.postgres.kill().await;
                self.postgres.restart().await;
            }
            4 => {
                self.redis.command("CONFIG SET maxmemory 1").await.unwrap();
                tokio::time::sleep(a_while).await;
                self.redis.command("CONFIG SET maxmemory 0").await.unwrap();
            }
            _ => {
                match what {
                    5 => self.proxy.set_both(Fault::Cut),
                    6 => self.proxy.set(Direction::Down, Fault::Hole),
                    7 => self.proxy.set(Direction::Up, Fault::Hole),
                    _ => self.proxy.set_both(Fault::Delay(Duration::from_millis(30))),
                }
                tokio::time::sleep(a_while).await;
                self.proxy.heal();
                self.proxy.sever();
            }
        }
    }
}

/// Commits an event, however often that takes. The database may have it although it did not say so.
async fn say(committer: &Committer<Crier>, database: &spillway_storage::database::Database, event: Event) {
    let spillway_storage::database::Database::Postgres(server) = database else { panic!("no server") };
    while committer.submit(event.clone()).await.is_err() {
        let known = sqlx::query_scalar("select count(*) from outbox where event_id = $1")
            .bind(event.event_id.uuid())
            .fetch_one(server.readers())
            .await;
        if known.is_ok_and(|known: i64| known == 1) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_every_event_is_taken_once_and_in_order() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| rand::rng().random());
    println!("SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new().await;
    let database = open(&world.postgres.fresh("chaos").await, &DataConfig::in_directory(".")).await;
    let committer = crier(&database).await;
    let topic = crate::common::fresh_topic();
    let ear = Ear::on(topic);
    let members: Vec<_> = (0..2)
        .map(|_| {
            let member = Member {
                bus: RedisBus::new(redis(&format!("redis://{}", world.proxy.address()))),
                stop: CancellationToken::new(),
            };
            member.bus.subscribe(Arc::new(ear.replica()) as Arc<dyn Consumer>, database.letterbox());
            let relay = Relay::new(&database, committer.clone());
            tokio::spawn(relay.run(Arc::new(member.bus.clone()), member.stop.clone()));
            member
        })
        .collect();

    // Everything has worked once, so that there is something to lose.
    let mut last = BTreeMap::from([("first".to_owned(), 1)]);
    say(&committer, &database, event(topic, "first", 1)).await;
    ear.hears_all(&["first".to_owned()], 1).await;
    for round in 0..ROUNDS {
        // Every kind of fault once, then any.
        let what = if round < 9 { (round + 5) % 9 } else { rng.random_range(0..9) };
        let mut said = Vec::new();
        for _ in 0..rng.random_range(1..40) {
            let key = format!("key {}", rng.random_range(0..25));
            let sequence = last.entry(key.clone()).and_modify(|last| *last += 1).or_insert(1);
            said.push(event(topic, &key, *sequence));
        }
        let saying = async {
            for event in said {
                say(&committer, &database, event).await;
            }
        };
        tokio::join!(saying, world.suffer(what, &mut rng));
    }
    for (key, last) in &last {
        ear.hears_all(std::slice::from_ref(key), *last).await;
    }
    let unpublished = "select count(*) from outbox where published_at is null";
    until("everything is marked", async || number(&database, unpublished).await == 0).await;
    let (total, repeats) = (ear.count(), ear.heard.lock().unwrap().repeats);
    let repairs: Vec<_> = members.iter().map(|member| member.bus.repairs()).collect();
    println!("{total} events, {repeats} repeats, {repairs:?}, {:?}", world.proxy.injected());
    assert!(world.proxy.injected().total() > 0, "the network was never at fault");
    assert!(repairs.iter().any(|repairs| repairs.restarts > 0), "no loss was noticed");
    assert_eq!(i64::try_from(total).unwrap(), last.values().sum::<i64>());
    for member in members {
        member.stop.cancel();
        member.bus.close().await;
    }
}
