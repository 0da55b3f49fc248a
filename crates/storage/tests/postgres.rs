//! Storage against a real Postgres: replicas that race, a server that is killed and frozen, callers who go away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it did"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{
    FutureExt,
    future::{join_all, poll_fn},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway_storage::{
    Committer, Rules, Store, StoreError,
    bus::Event,
    config::DataConfig,
    database::{DatabaseUrl, Step},
    group_commit::{self, Limits},
    idempotency::{self, Key, Records},
    postgres::{Database, PgSession, idempotency as pg_idempotency, outbox as pg_outbox},
};
use spillway_testkit::servers::{self, Postgres};
use spillway_types::{EventId, Fingerprint, RequestId, Timestamp};

/// Counters: a command adds one to a counter, once a key, and hears the new value.
#[derive(Debug)]
struct Counters;

#[derive(Debug, Default)]
struct Rows {
    values: BTreeMap<String, (i64, bool)>,
    events: Vec<Event>,
    records: Records,
}

const STEPS: &[Step] = &[Step {
    version: 2,
    name: "counters",
    sql: "create table counter (name text not null, value bigint not null, constraint counter_pk primary key (name))",
}];

impl Rules for Counters {
    type Command = (String, RequestId);
    type Answer = i64;
    type Rows = Rows;

    fn decide(rows: &mut Rows, (name, request_id): &Self::Command, now: Timestamp) -> i64 {
        let (key, print) = (record(*request_id), Fingerprint::of(name));
        if let Some(known) = idempotency::replay(&rows.records, &key, &print).unwrap() {
            return known;
        }
        let value = rows.values.get(name).map_or(0, |(value, _)| *value) + 1;
        let is_new = rows.values.get(name).is_none_or(|(_, is_new)| *is_new);
        rows.values.insert(name.clone(), (value, is_new));
        idempotency::remember(&mut rows.records, key, print, &value, now);
        let (topic, payload) = ("count".to_owned(), "{}".to_owned());
        let (event_id, key) = (EventId::random(), name.clone());
        rows.events.push(Event { event_id, topic, key, sequence: value, occurred_at: now, payload });
        value
    }
}

fn record(request_id: RequestId) -> Key {
    Key { scope: "Count".to_owned(), request_id }
}

struct CounterStore(PgSession);

#[async_trait]
impl Store<Counters> for CounterStore {
    type Session = PgSession;

    fn session(&mut self) -> &mut PgSession {
        &mut self.0
    }

    async fn load(&mut self, commands: &[(String, RequestId)]) -> Result<Rows, StoreError> {
        let mut names: Vec<_> = commands.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let sql = "select name, value from counter where name = any($1) order by name for update";
        let values: Vec<(String, i64)> = sqlx::query_as(sql)
            .bind(&names)
            .fetch_all(self.0.connection()?)
            .await
            .map_err(StoreError::database("reading counters"))?;
        let keys = commands.iter().map(|(_, request_id)| record(*request_id)).collect();
        let records = pg_idempotency::load(self.0.connection()?, keys).await?;
        let values = values.into_iter().map(|(name, value)| (name, (value, false))).collect();
        Ok(Rows { values, records, events: Vec::new() })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        for (is_new, sql) in [
            (true, "insert into counter (name, value) select * from unnest($1::text[], $2::bigint[])"),
            (
                false,
                "update counter set value = r.value from unnest($1::text[], $2::bigint[]) r (name, value)
                      where counter.name = r.name",
            ),
        ] {
            let these = rows.values.iter().filter(|(_, (_, new))| *new == is_new);
            let (names, values): (Vec<&str>, Vec<i64>) =
                these.map(|(name, (value, _))| (name.as_str(), *value)).unzip();
            if !names.is_empty() {
                let done = sqlx::query(sql).bind(names).bind(values).execute(self.0.connection()?).await;
                done.map_err(StoreError::database("counting"))?;
            }
        }
        pg_idempotency::save(self.0.connection()?, &rows.records).await?;
        pg_outbox::save(self.0.connection()?, &rows.events).await
    }
}

async fn open(url: &str) -> (Database, Committer<Counters>) {
    let DatabaseUrl::Postgres(options) = url.parse().unwrap() else { panic!("{url} is no server") };
    let database = Database::open(&options, &DataConfig::in_directory(".").postgres).await.unwrap();
    database.migrate(STEPS).await.unwrap();
    let committer = group_commit::spawn(CounterStore(database.session()), Limits { batch_max: 64, queue_max: 4_096 });
    (database, committer)
}

async fn number(database: &Database, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(database.readers()).await.unwrap()
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once_and_race_for_keys_without_losing_any() {
    let url = servers::postgres().await.fresh("race").await;
    let replicas = join_all((0..4).map(|_| open(&url))).await;
    let mut rounds = 0;
    // Each round, four replicas want the same counter that nobody has seen, by the same keys.
    while replicas.iter().all(|(_, committer)| committer.totals().conflicts == 0) {
        rounds += 1;
        assert!(rounds <= 200, "no two replicas ever met in {rounds} rounds");
        let keys: Vec<_> = (0..8).map(|_| RequestId::random()).collect();
        let name = format!("counter-{rounds}");
        let asked =
            replicas.iter().flat_map(|(_, committer)| keys.iter().map(|key| committer.submit((name.clone(), *key))));
        let answers: Vec<i64> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        let (first, rest) = answers.split_at(keys.len());
        assert!(rest.chunks(keys.len()).all(|others| others == first), "one key, one answer: {answers:?}");
        let mut values = first.to_vec();
        values.sort_unstable();
        assert_eq!(values, (1..=8).collect::<Vec<i64>>(), "one effect a key");
    }
    let (database, _) = &replicas[0];
    assert_eq!(number(database, "select sum(value)::bigint from counter").await, rounds * 8);
    assert_eq!(number(database, "select count(*) from outbox").await, rounds * 8, "one event an effect");
    println!("a conflict in round {rounds}");
}

#[tokio::test]
async fn callers_who_go_away_at_any_moment_leave_no_transaction_open() {
    let url = servers::postgres().await.fresh("gone").await;
    let (database, committer) = open(&url).await;
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut keys = Vec::new();
    for _ in 0..500 {
        let key = RequestId::random();
        keys.push(key);
        let mut asked = Box::pin(committer.submit(("kept".to_owned(), key)));
        // Polled a few times, then dropped wherever it is.
        for _ in 0..rng.random_range(0..4) {
            if poll_fn(|cx| std::task::Poll::Ready(asked.poll_unpin(cx))).await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let mut answers: Vec<i64> = join_all(keys.iter().map(|key| committer.submit(("kept".to_owned(), *key))))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=500).collect::<Vec<i64>>(), "each key had one effect");
    let open = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'";
    assert_eq!(number(&database, open).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_servers_death_at_any_moment() {
    let server = Postgres::private().await;
    let url = server.fresh("dead").await;
    let (database, committer) = open(&url).await;
    let acknowledged = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let stop = tokio_util::sync::CancellationToken::new();
    let callers: Vec<_> = (0..16)
        .map(|n| {
            let (committer, acknowledged, stop) = (committer.clone(), Arc::clone(&acknowledged), stop.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let key = RequestId::random();
                    let value = loop {
                        // As a caller does: the same key, until there is an answer.
                        match committer.submit((format!("counter-{}", n % 4), key)).await {
                            Ok(value) => break value,
                            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                        }
                    };
                    acknowledged.lock().unwrap().insert(key, (n % 4, value));
                }
            })
        })
        .collect();
    let count = || acknowledged.lock().unwrap().len();
    for death in 0..3 {
        let enough = count() + 200;
        while count() < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill().await;
        server.restart().await;
        println!("death {} after {} answers", death + 1, count());
    }
    let enough = count() + 200;
    while count() < enough {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.cancel();
    for caller in callers {
        caller.await.unwrap();
    }
    let answers = acknowledged.lock().unwrap().clone();
    let distinct: std::collections::BTreeSet<_> = answers.values().collect();
    assert_eq!(distinct.len(), answers.len(), "no value was given twice");
    let total = number(&database, "select sum(value)::bigint from counter").await;
    assert_eq!(usize::try_from(total).unwrap(), answers.len(), "every effect has one caller who was told");
    assert_eq!(number(&database, "select count(*) from outbox").await, total);
    assert_eq!(number(&database, "select count(*) from idempotency").await, total);
    println!("{total} effects, {:?}", committer.totals());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_sheds_reads_at_once_and_is_used_again_when_it_thaws() {
    let server = Postgres::private().await;
    let url = server.fresh("frozen").await;
    let (database, committer) = open(&url).await;
    committer.submit(("before".to_owned(), RequestId::random())).await.unwrap();
    server.freeze().await;
    let waiting = {
        let (committer, key) = (committer.clone(), RequestId::random());
        tokio::spawn(async move { (key, committer.submit(("during".to_owned(), key)).await) })
    };
    // More reads than there are connections: those that hold one wait for the server, the others are shed.
    let reads = (0..16).map(|_| tokio::time::timeout(Duration::from_secs(2), database.check()));
    let shed = join_all(reads).await.into_iter().filter(|read| matches!(read, Ok(Err(StoreError::Exhausted)))).count();
    assert!(shed > 0, "reads queue behind a frozen server");
    server.thaw().await;
    let (key, answer) = waiting.await.unwrap();
    let again = committer.submit(("during".to_owned(), key)).await.unwrap();
    assert_eq!((answer.unwrap_or(again), again), (1, 1), "whatever the first one heard, it happened once");
    assert!(committer.submit(("after".to_owned(), RequestId::random())).await.is_ok());
    let came_back = async { while database.check().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), came_back).await.expect("reads work again");
}
