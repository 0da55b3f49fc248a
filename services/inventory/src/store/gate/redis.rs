//! Counters in Redis, shared by all replicas: a hash a SKU, touched only by scripts, each of which has that one key.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use spillway_storage::redis::{Redis, RedisError, Script, ScriptInvocation, cmd};
use spillway_types::{OrderId, Sku};

use super::{Counters, Unavailable};
use crate::domain::admission::{Generation, Moment, Setting, Stock, Verdict};

/// Counters that are set at once. More would make a waiting Reserve miss its budget behind them.
const SET_MAX: usize = 64;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Counters in a Redis server, or in a cluster.
#[derive(Debug)]
pub struct RedisCounters {
    redis: Redis,
    admit: Script,
    give_back: Script,
    set: Script,
}

// === impl RedisCounters ===

impl RedisCounters {
    /// Counters in `redis`.
    pub fn new(redis: Redis) -> Self {
        let [admit, give_back, set] =
            [include_str!("redis/admit.lua"), include_str!("redis/give_back.lua"), include_str!("redis/set.lua")]
                .map(Script::new);
        Self { redis, admit, give_back, set }
    }

    async fn set_one(&self, stock: &Stock, setting: Setting) -> Result<(), RedisError> {
        let Setting { generation, until } = setting;
        let mut script = self.at(&self.set, &stock.sku);
        script.arg(stock.available).arg(stock.version).arg(generation.0).arg(until.0);
        self.redis.script("setting a gate's counter", &script).await
    }

    fn at<'a>(&self, script: &'a Script, sku: &Sku) -> ScriptInvocation<'a> {
        script.key(key(sku))
    }
}

/// The SKU is the hash tag: counters of different SKUs may live on different nodes.
fn key(sku: &Sku) -> String {
    format!("spillway:gate:{{{sku}}}")
}

#[async_trait]
impl Counters for RedisCounters {
    async fn admit(&self, sku: &Sku, order_id: OrderId, quantity: u32) -> Result<Verdict, Unavailable> {
        let mut script = self.at(&self.admit, sku);
        script.arg(order_id.to_string()).arg(quantity);
        let (verdict, value): (String, Option<String>) =
            self.redis.script("asking the gate", &script).await.map(|answer: Vec<String>| {
                let mut answer = answer.into_iter();
                (answer.next().unwrap_or_default(), answer.next())
            })?;
        let value = value.as_deref();
        let verdict = match verdict.as_str() {
            "open" => Some(Verdict::Open),
            "admitted" => value.and_then(|value| value.parse().ok()).map(Generation).map(Verdict::Admitted),
            "short" => value.and_then(|value| value.parse().ok()).map(Verdict::Short),
            _ => None,
        };
        verdict.ok_or_else(|| Unavailable(format!("the gate's counter of {sku} is not readable")))
    }

    async fn give_back(&self, sku: &Sku, order_id: OrderId, generation: Generation) -> Result<(), Unavailable> {
        let mut script = self.at(&self.give_back, sku);
        script.arg(order_id.to_string()).arg(generation.0);
        Ok(self.redis.script("giving back to the gate", &script).await?)
    }

    async fn moment(&self) -> Result<Moment, Unavailable> {
        let (seconds, micros): (u64, u64) = self.redis.query("asking for redis's time", &cmd("TIME")).await?;
        Ok(Moment(seconds.saturating_mul(MICROS_PER_SECOND).saturating_add(micros)))
    }

    async fn set(&self, stocks: &[Stock], setting: Setting) -> Result<(), Unavailable> {
        for stocks in stocks.chunks(SET_MAX) {
            try_join_all(stocks.iter().map(|stock| self.set_one(stock, setting))).await?;
        }
        Ok(())
    }

    async fn left(&self, sku: &Sku) -> Result<Option<i64>, Unavailable> {
        let mut command = cmd("HGET");
        command.arg(key(sku)).arg("left");
        Ok(self.redis.query("reading a gate's counter", &command).await?)
    }
}

impl From<RedisError> for Unavailable {
    fn from(error: RedisError) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests;
