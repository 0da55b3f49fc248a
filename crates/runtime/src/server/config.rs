//! Settings of a server.

use std::time::Duration;

use serde::Deserialize;
use spillway_middleware::config::DeadlineConfig;

/// Limits of a server. tonic and hyper leave most of them off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Connections at a time; further ones wait in the kernel's queue. Default 4,096; 1 to 1,000,000.
    pub max_connections: usize,
    /// Calls at a time on one connection. Default 128; 1 to 100,000.
    pub max_concurrent_streams: u32,
    /// Streams that a caller reset before we took them up, before it is cut off (CVE-2023-44487). Default 20; 1 to
    /// 10,000.
    pub max_pending_accept_resets: usize,
    /// Streams that we had to reset, before the caller is cut off (CVE-2025-8671). Default 1,024; 1 to 100,000.
    pub max_local_error_resets: usize,
    /// Size of a request's headers. Default 16,384; 1,024 to 1,048,576.
    pub max_header_list_bytes: u32,
    /// How often to ask a silent caller whether it is there. Default 20,000; 100 to 3,600,000.
    pub keepalive_interval_ms: u64,
    /// How long it may take to answer that. Default 5,000; 100 to 600,000.
    pub keepalive_timeout_ms: u64,
    /// How long a new connection may say nothing. Default 5,000; 10 to 600,000.
    pub handshake_ms: u64,
    /// A connection is asked to go after this, so that callers spread over new replicas. Default 300,000; 100 to
    /// 86,400,000.
    pub connection_age_ms: u64,
    /// That age is longer or shorter by up to this share, so that connections do not all go together. Default 20; 0 to
    /// 90.
    pub connection_age_jitter_percent: u32,
    /// How long calls in flight may go on once their connection was asked to go. Default 20,000; 0 to 600,000.
    pub drain_ms: u64,
    /// Time between two rounds of health probes. Default 1,000; 10 to 60,000.
    pub probe_interval_ms: u64,
    /// Whether to tell callers which methods there are.
    pub reflection: bool,
    /// How long calls may take.
    pub deadline: DeadlineConfig,
}

// === impl ServerConfig ===

impl ServerConfig {
    /// Adds to `errors` whatever stands outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        let mut within = |key: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                errors.push(format!("{path}.{key} = {value}: must be from {low} to {high}"));
            }
        };
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        within("max_connections", wide(self.max_connections), 1, 1_000_000);
        within("max_concurrent_streams", self.max_concurrent_streams.into(), 1, 100_000);
        within("max_pending_accept_resets", wide(self.max_pending_accept_resets), 1, 10_000);
        within("max_local_error_resets", wide(self.max_local_error_resets), 1, 100_000);
        within("max_header_list_bytes", self.max_header_list_bytes.into(), 1_024, 1_048_576);
        within("keepalive_interval_ms", self.keepalive_interval_ms, 100, 3_600_000);
        within("keepalive_timeout_ms", self.keepalive_timeout_ms, 100, 600_000);
        within("handshake_ms", self.handshake_ms, 10, 600_000);
        within("connection_age_ms", self.connection_age_ms, 100, 86_400_000);
        within("connection_age_jitter_percent", self.connection_age_jitter_percent.into(), 0, 90);
        within("drain_ms", self.drain_ms, 0, 600_000);
        within("probe_interval_ms", self.probe_interval_ms, 10, 60_000);
        self.middleware().validate(path, errors);
    }

    pub(super) fn middleware(&self) -> spillway_middleware::ServerConfig {
        spillway_middleware::ServerConfig { deadline: self.deadline.clone() }
    }

    pub(super) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// The age of one connection.
    pub(super) fn age(&self) -> Duration {
        let jitter = u64::from(self.connection_age_jitter_percent);
        let percent = rand::random_range(100 - jitter..=100 + jitter);
        Duration::from_millis(self.connection_age_ms.saturating_mul(percent) / 100)
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            max_concurrent_streams: 128,
            max_pending_accept_resets: 20,
            max_local_error_resets: 1_024,
            max_header_list_bytes: 16_384,
            keepalive_interval_ms: 20_000,
            keepalive_timeout_ms: 5_000,
            handshake_ms: 5_000,
            connection_age_ms: 300_000,
            connection_age_jitter_percent: 20,
            drain_ms: 20_000,
            probe_interval_ms: 1_000,
            reflection: true,
            deadline: DeadlineConfig::default(),
        }
    }
}
