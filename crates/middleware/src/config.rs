//! Settings of the stacks: unit in the name, default, guardrail. Every one of them stands in the configuration file.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use serde::Deserialize;

use crate::policy::Kind;

/// Settings of a client stack: one copy per target. Breaker, bulkhead and attempt timeout are of each of its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// How long a call may take, all attempts together.
    pub deadline: DeadlineConfig,
    /// How often and when to try again; unused by the preset for saga steps.
    pub retry: RetryConfig,
    /// When to leave a failing endpoint alone.
    pub breaker: BreakerConfig,
    /// How many calls may be in flight to an endpoint.
    pub bulkhead: BulkheadConfig,
    /// How long one attempt may take.
    pub attempt: AttemptConfig,
}

/// Settings of a server stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// How long a call may take.
    pub deadline: DeadlineConfig,
}

/// Deadlines. Streams have none unless the caller gives one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlineConfig {
    /// For reads without a deadline of their own. Default 2,000; 10 to `cap_ms`.
    pub read_ms: u64,
    /// For writes without a deadline of their own. Default 5,000; 10 to `cap_ms`.
    pub write_ms: u64,
    /// No unary call may ask for more. Default 30,000; 10 to 300,000.
    pub cap_ms: u64,
    /// Kept back from a caller's deadline for the way home, at least. Default 5; 0 to 1,000.
    pub reserve_ms: u64,
    /// Kept back from a caller's deadline for the way home, in percent of what is left. Default 2; 0 to 50.
    pub reserve_percent: u32,
}

/// Trying again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts in all, the first one included. Default 3; 1 (no retry) to 5 (the most that gRFC A6 allows).
    pub attempts: u32,
    /// Upper end of the first random wait; doubles from there. Default 50; 1 to `cap_ms`.
    pub base_ms: u64,
    /// Upper end of any random wait. Default 2,000; 1 to 60,000.
    pub cap_ms: u64,
    /// A request longer than this is sent once, since it is not kept. Default 65,536; 0 to 1,048,576.
    pub buffer_bytes: usize,
    /// Retries in percent of first attempts. Default 10; 0 to 100.
    pub budget_percent: u32,
    /// Retries per second that are allowed however few the calls. Default 10; 0 to 10,000.
    pub budget_floor_per_s: u32,
}

/// When to leave a failing endpoint alone, and when to ask it again. At most half of a target's endpoints are left alone
/// for their failures at a time, and at most one of two or three.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// The outcomes of how long count; ten buckets. Default 10,000; 1,000 to 600,000.
    pub window_ms: u64,
    /// Fewer calls than this in the window prove nothing. Default 20; 1 to 1,000,000.
    pub min_calls: u32,
    /// Opens at this share of failures. Default 50; 1 to 100.
    pub failure_percent: u32,
    /// Opens at this share of slow calls. Default 80; 1 to 100.
    pub slow_percent: u32,
    /// A call is slow from this share of its attempt timeout on. Default 80; 1 to 100.
    pub slow_at_percent: u32,
    /// First time open, give or take a quarter; doubles while probing fails. Default 5,000; 10 to `open_max_ms`.
    pub open_ms: u64,
    /// Longest time open. Default 60,000; 10 to 3,600,000.
    pub open_max_ms: u64,
    /// Calls let through to see whether the endpoint is well again. Default 5; 1 to 1,000.
    pub probes: u32,
    /// So many of them must succeed. Default 4; 1 to `probes`.
    pub probes_needed: u32,
    /// Probing that has not decided by then has failed. Default 10,000; 10 to 600,000.
    pub probing_max_ms: u64,
}

/// Calls in flight to one endpoint, by kind of method. A call beyond them is refused at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkheadConfig {
    /// Default 1,024 (twice 10,000 calls/s at 50 ms); 1 to 1,000,000.
    pub reads: usize,
    /// Default 1,024; 1 to 1,000,000.
    pub writes: usize,
    /// Default 256; 1 to 1,000,000.
    pub streams: usize,
}

/// How long one attempt may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptConfig {
    /// To the end of the answer. Default 1,000; 1 to 300,000.
    pub read_ms: u64,
    /// To the end of the answer. Default 4,000; 1 to 300,000.
    pub write_ms: u64,
    /// To the beginning of the answer: a stream goes on as long as it likes. Default 4,000; 1 to 300,000.
    pub stream_ms: u64,
}

// === impl ClientConfig ===

impl ClientConfig {
    /// Adds to `errors` whatever stands outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        self.deadline.validate(&format!("{path}.deadline"), errors);
        self.retry.validate(&format!("{path}.retry"), errors);
        self.breaker.validate(&format!("{path}.breaker"), errors);
        let mut check = Check { path: &format!("{path}.bulkhead"), errors };
        check.within("reads", self.bulkhead.reads, 1..=1_000_000);
        check.within("writes", self.bulkhead.writes, 1..=1_000_000);
        check.within("streams", self.bulkhead.streams, 1..=1_000_000);
        let mut check = Check { path: &format!("{path}.attempt"), errors };
        check.within("read_ms", self.attempt.read_ms, 1..=300_000);
        check.within("write_ms", self.attempt.write_ms, 1..=300_000);
        check.within("stream_ms", self.attempt.stream_ms, 1..=300_000);
    }
}

// === impl ServerConfig ===

impl ServerConfig {
    /// Adds to `errors` whatever stands outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        self.deadline.validate(&format!("{path}.deadline"), errors);
    }
}

// === impl DeadlineConfig ===

impl DeadlineConfig {
    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut check = Check { path, errors };
        check.within("cap_ms", self.cap_ms, 10..=300_000);
        check.within("read_ms", self.read_ms, 10..=self.cap_ms);
        check.within("write_ms", self.write_ms, 10..=self.cap_ms);
        check.within("reserve_ms", self.reserve_ms, 0..=1_000);
        check.within("reserve_percent", self.reserve_percent, 0..=50);
    }

    /// The deadline of a method whose caller gave none.
    pub(crate) fn default_of(&self, kind: Kind) -> Option<Duration> {
        match kind {
            Kind::Read => Some(Duration::from_millis(self.read_ms)),
            Kind::Write => Some(Duration::from_millis(self.write_ms)),
            Kind::Stream => None,
        }
    }

    /// `asked`, or the most that a method of this kind may ask for.
    pub(crate) fn capped(&self, kind: Kind, asked: Duration) -> Duration {
        match kind {
            Kind::Read | Kind::Write => asked.min(Duration::from_millis(self.cap_ms)),
            Kind::Stream => asked,
        }
    }

    /// What to keep back of `remaining`, so that our answer can still reach our caller.
    pub(crate) fn reserve(&self, remaining: Duration) -> Duration {
        let share = remaining.saturating_mul(self.reserve_percent) / 100;
        share.max(Duration::from_millis(self.reserve_ms))
    }
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        Self { read_ms: 2_000, write_ms: 5_000, cap_ms: 30_000, reserve_ms: 5, reserve_percent: 2 }
    }
}

// === impl RetryConfig ===

impl RetryConfig {
    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut check = Check { path, errors };
        check.within("attempts", self.attempts, 1..=5);
        check.within("cap_ms", self.cap_ms, 1..=60_000);
        check.within("base_ms", self.base_ms, 1..=self.cap_ms);
        check.within("buffer_bytes", self.buffer_bytes, 0..=1_048_576);
        check.within("budget_percent", self.budget_percent, 0..=100);
        check.within("budget_floor_per_s", self.budget_floor_per_s, 0..=10_000);
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            base_ms: 50,
            cap_ms: 2_000,
            buffer_bytes: 65_536,
            budget_percent: 10,
            budget_floor_per_s: 10,
        }
    }
}

// === impl BreakerConfig ===

impl BreakerConfig {
    /// Preset: opens at 60 % of failures over 15 s.
    pub fn fifteen_seconds() -> Self {
        Self { window_ms: 15_000, failure_percent: 60, ..Self::default() }
    }

    /// Preset: opens at 50 % of failures, stays open for 60 s, then lets ten probes through.
    pub fn one_minute() -> Self {
        Self { open_ms: 60_000, probes: 10, probes_needed: 8, ..Self::default() }
    }

    fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut check = Check { path, errors };
        check.within("window_ms", self.window_ms, 1_000..=600_000);
        check.within("min_calls", self.min_calls, 1..=1_000_000);
        check.within("failure_percent", self.failure_percent, 1..=100);
        check.within("slow_percent", self.slow_percent, 1..=100);
        check.within("slow_at_percent", self.slow_at_percent, 1..=100);
        check.within("open_max_ms", self.open_max_ms, 10..=3_600_000);
        check.within("open_ms", self.open_ms, 10..=self.open_max_ms);
        check.within("probes", self.probes, 1..=1_000);
        check.within("probes_needed", self.probes_needed, 1..=self.probes);
        check.within("probing_max_ms", self.probing_max_ms, 10..=600_000);
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window_ms: 10_000,
            min_calls: 20,
            failure_percent: 50,
            slow_percent: 80,
            slow_at_percent: 80,
            open_ms: 5_000,
            open_max_ms: 60_000,
            probes: 5,
            probes_needed: 4,
            probing_max_ms: 10_000,
        }
    }
}

// === impl BulkheadConfig ===

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { reads: 1_024, writes: 1_024, streams: 256 }
    }
}

// === impl AttemptConfig ===

impl AttemptConfig {
    pub(crate) fn limit_of(&self, kind: Kind) -> Duration {
        Duration::from_millis(match kind {
            Kind::Read => self.read_ms,
            Kind::Write => self.write_ms,
            Kind::Stream => self.stream_ms,
        })
    }
}

impl Default for AttemptConfig {
    fn default() -> Self {
        Self { read_ms: 1_000, write_ms: 4_000, stream_ms: 4_000 }
    }
}

/// Notes what is out of bounds in one table of the file.
struct Check<'a> {
    path: &'a str,
    errors: &'a mut Vec<String>,
}

impl Check<'_> {
    fn within<T: PartialOrd + Display>(&mut self, key: &str, value: T, allowed: RangeInclusive<T>) {
        if !allowed.contains(&value) {
            let (low, high) = allowed.into_inner();
            self.errors.push(format!("{}.{key} = {value}: must be from {low} to {high}", self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_presets_keep_within_the_guardrails() {
        let mut errors = Vec::new();
        for breaker in [BreakerConfig::default(), BreakerConfig::fifteen_seconds(), BreakerConfig::one_minute()] {
            ClientConfig { breaker, ..ClientConfig::default() }.validate("client", &mut errors);
        }
        ServerConfig::default().validate("server", &mut errors);
        assert_eq!(errors, Vec::<String>::new());
    }

    #[test]
    fn every_setting_out_of_bounds_is_named() {
        let mut config = ClientConfig::default();
        config.deadline.read_ms = 0;
        config.retry.attempts = 6;
        config.breaker.probes_needed = 6;
        config.bulkhead.reads = 0;
        let mut errors = Vec::new();
        config.validate("client", &mut errors);
        let expected = [
            "client.deadline.read_ms = 0: must be from 10 to 30000",
            "client.retry.attempts = 6: must be from 1 to 5",
            "client.breaker.probes_needed = 6: must be from 1 to 5",
            "client.bulkhead.reads = 0: must be from 1 to 1000000",
        ];
        assert_eq!(errors, expected);
    }
}
