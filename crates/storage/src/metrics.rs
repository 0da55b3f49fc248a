//! What a service's store shows of itself. Numbers that are kept anyway are read when somebody asks; those that only the
//! database knows are asked of it now and then.
//!
//! | instrument | unit | what it is |
//! |---|---|---|
//! | `spillway.commit.batches` | {batch} | transactions of the writer that were committed |
//! | `spillway.commit.commands` | {command} | commands in them |
//! | `spillway.commit.conflicts` | {batch} | batches decided again because another writer was first |
//! | `spillway.commit.lost_connections` | {batch} | batches carried out again because the connection broke |
//! | `spillway.pool.connections` | {connection} | connections for reading, `state` = `used` or `idle` |
//! | `spillway.outbox.unpublished` | {event} | events that wait to be published |
//! | `spillway.outbox.oldest_age` | s | for how long the oldest of them has waited |
//! | `spillway.bus.letters` | {event} | events put aside: `state` = `dead`, or `held` behind a dead one |
//! | `spillway.redis.up` | | 1 while Redis answers, else 0 |
//! | `spillway.redis.changes` | {change} | how often it went away or came back |
//! | `spillway.bus.waiting` | {event} | events in the streams that this process looks after: those that some consumer has not taken, and the latest few |
//! | `spillway.bus.repairs` | {repair} | what went wrong on the bus and was put right: `kind` = `refill`, `restart`, `takeover` or `unreadable` |

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    KeyValue, global,
    metrics::{AsyncInstrument, Meter},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Committer, Rules, StoreError,
    bus::{Letterbox, RedisBus, Repairs, letterbox::LetterCount},
    database::Database,
    group_commit::Totals,
    outbox::{Backlog, Outbox},
    redis::Redis,
};

/// Pause between two questions to the database. Scrapers ask about as often; each question is answered from an index of
/// what waits, which is short when all is well.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What the database said last.
#[derive(Debug, Default)]
struct Asked {
    unpublished: AtomicU64,
    oldest_age_micros: AtomicU64,
    dead: AtomicU64,
    held: AtomicU64,
}

/// Shows the writer and the pool of `service` to scrapers.
pub fn show<R: Rules>(service: &'static str, committer: &Committer<R>, database: &Database) {
    let meter = global::meter("spillway");
    show_commits(&meter, service, committer.reading());
    show_pool(&meter, service, database.clone());
}

/// The same, and what only the database knows of its events: the future keeps that fresh, until `stop`.
pub fn watch<R: Rules>(
    service: &'static str,
    committer: &Committer<R>,
    database: &Database,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<R> {
    show(service, committer, database);
    let asked = Arc::new(Asked::default());
    show_asked(&global::meter("spillway"), service, &asked);
    let (outbox, letterbox) = (database.outbox(), database.letterbox());
    async move {
        while !stop.is_cancelled() {
            if let Err(error) = asked.ask(&*outbox, &*letterbox).await {
                tracing::debug!(%error, service, "the numbers of the outbox are not fresh");
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// Shows a Redis client, and the bus over it, to scrapers.
pub fn watch_redis(redis: &Redis, bus: &RedisBus) {
    show_bus(bus);
    let (meter, up) = (global::meter("spillway"), redis.clone());
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.redis.up")
        .with_description("1 while Redis answers, else 0.")
        .with_callback(move |gauge| gauge.observe(up.is_up().into(), &[]))
        .build();
    let redis = redis.clone();
    let _kept_by_the_meter = meter
        .u64_observable_counter("spillway.redis.changes")
        .with_unit("{change}")
        .with_description("How often Redis went away or came back.")
        .with_callback(move |counter| counter.observe(redis.changes(), &[]))
        .build();
}

fn show_bus(bus: &RedisBus) {
    let (meter, reading) = (global::meter("spillway"), bus.reading());
    let repairs = reading.clone();
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.bus.waiting")
        .with_unit("{event}")
        .with_description("Events in the streams that this process looks after.")
        .with_callback(move |gauge| gauge.observe(reading().1, &[]))
        .build();
    let _kept_by_the_meter = meter
        .u64_observable_counter("spillway.bus.repairs")
        .with_unit("{repair}")
        .with_description("What went wrong on the bus and was put right.")
        .with_callback(move |counter| {
            let Repairs { refills, restarts, takeovers, unreadable } = repairs().0;
            let kinds =
                [("refill", refills), ("restart", restarts), ("takeover", takeovers), ("unreadable", unreadable)];
            for (kind, count) in kinds {
                counter.observe(count, &[KeyValue::new("kind", kind)]);
            }
        })
        .build();
}

/// One number of a writer.
type Pick = fn(Totals) -> u64;

fn show_commits(meter: &Meter, service: &'static str, totals: impl Fn() -> Totals + Clone + Send + Sync + 'static) {
    let counters: [(&str, &str, &str, Pick); 4] = [
        ("spillway.commit.batches", "{batch}", "Transactions that were committed.", |totals| totals.batches),
        ("spillway.commit.commands", "{command}", "Commands in them.", |totals| totals.commands),
        ("spillway.commit.conflicts", "{batch}", "Batches decided again: another writer was first.", |totals| {
            totals.conflicts
        }),
        ("spillway.commit.lost_connections", "{batch}", "Batches carried out again: the connection broke.", |totals| {
            totals.lost
        }),
    ];
    for (name, unit, description, pick) in counters {
        let (totals, labels) = (totals.clone(), [KeyValue::new("service", service)]);
        let _kept_by_the_meter = meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |counter| counter.observe(pick(totals()), &labels))
            .build();
    }
}

fn show_pool(meter: &Meter, service: &'static str, database: Database) {
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.pool.connections")
        .with_unit("{connection}")
        .with_description("Connections for reading, by what they do.")
        .with_callback(move |gauge| {
            let (all, idle) = database.reading_connections();
            observe(gauge, service, [("used", all.saturating_sub(idle)), ("idle", idle)]);
        })
        .build();
}

fn show_asked(meter: &Meter, service: &'static str, asked: &Arc<Asked>) {
    let (waiting, labels) = (Arc::clone(asked), [KeyValue::new("service", service)]);
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.outbox.unpublished")
        .with_unit("{event}")
        .with_description("Events that wait to be published.")
        .with_callback(move |gauge| gauge.observe(waiting.unpublished.load(Ordering::Relaxed), &labels))
        .build();
    let (waiting, labels) = (Arc::clone(asked), [KeyValue::new("service", service)]);
    let _kept_by_the_meter = meter
        .f64_observable_gauge("spillway.outbox.oldest_age")
        .with_unit("s")
        .with_description("For how long the oldest event that waits to be published has waited.")
        .with_callback(move |gauge| {
            let age = Duration::from_micros(waiting.oldest_age_micros.load(Ordering::Relaxed));
            gauge.observe(age.as_secs_f64(), &labels);
        })
        .build();
    let asked = Arc::clone(asked);
    let _kept_by_the_meter = meter
        .u64_observable_gauge("spillway.bus.letters")
        .with_unit("{event}")
        .with_description("Events that consumers have put aside.")
        .with_callback(move |gauge| {
            let load = |letters: &AtomicU64| letters.load(Ordering::Relaxed);
            observe(gauge, service, [("dead", load(&asked.dead)), ("held", load(&asked.held))]);
        })
        .build();
}

fn observe(gauge: &dyn AsyncInstrument<u64>, service: &'static str, states: [(&'static str, u64); 2]) {
    for (state, value) in states {
        gauge.observe(value, &[KeyValue::new("service", service), KeyValue::new("state", state)]);
    }
}

// === impl Asked ===

impl Asked {
    async fn ask(&self, outbox: &dyn Outbox, letterbox: &dyn Letterbox) -> Result<(), StoreError> {
        let Backlog { unpublished, oldest } = outbox.backlog().await?;
        let age = match oldest {
            Some(oldest) => outbox.now().await?.saturating_since(oldest),
            None => Duration::ZERO,
        };
        let LetterCount { dead, held } = letterbox.count().await?;
        for (kept, value) in [
            (&self.unpublished, unpublished),
            (&self.oldest_age_micros, u64::try_from(age.as_micros()).unwrap_or(u64::MAX)),
            (&self.dead, dead),
            (&self.held, held),
        ] {
            kept.store(value, Ordering::Relaxed);
        }
        Ok(())
    }
}
