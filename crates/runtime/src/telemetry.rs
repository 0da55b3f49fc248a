//! Logs and spans, and the start of [`metrics`]. Spans are made and propagated; exporting them comes with the collector.

use std::io::{self, IsTerminal};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use serde::Deserialize;
use spillway_middleware::TRACE_TARGET;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::metrics;

/// Settings of logs and spans.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What to log: a tracing-subscriber filter, such as `info` or `info,spillway_saga=debug`. Default `info`.
    pub log: String,
    /// How lines look. Default `compact`.
    pub format: Format,
    /// Share of new traces that are sampled; a caller's decision is kept. Default 0, which makes no call spans at all
    /// (callers' traces are passed on all the same); 0 to 100.
    pub trace_percent: u32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Several lines each, for reading along.
    Pretty,
    /// A line each, for people.
    Compact,
    /// An object each, for machines.
    Json,
}

/// Keeps telemetry running; flushes it on drop.
#[derive(Debug)]
#[must_use = "dropped, it ends telemetry"]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

/// Telemetry was started before in this process.
#[derive(Debug, thiserror::Error)]
#[error("telemetry cannot start: {0}")]
pub struct TelemetryError(String);

/// Starts logs (to standard error) and spans for the process called `service`.
///
/// # Errors
/// When the filter does not parse, or telemetry was started before.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Telemetry, TelemetryError> {
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(service).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            f64::from(config.trace_percent) / 100.0,
        ))))
        .build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer(service));
    tracing_subscriber::registry()
        .with(lines(config.format))
        .with((config.trace_percent > 0).then_some(spans))
        .with(filter(config).map_err(TelemetryError)?)
        .try_init()
        .map_err(|error| TelemetryError(error.to_string()))?;
    metrics::init(service).map_err(TelemetryError)?;
    Ok(Telemetry { provider })
}

fn filter(config: &TelemetryConfig) -> Result<EnvFilter, String> {
    // The exporter's own lines would be exported in turn; and nobody reads the spans of calls when none are sampled.
    let spans = if config.trace_percent > 0 { "info" } else { "off" };
    let whole = format!("{},opentelemetry=off,{TRACE_TARGET}={spans}", config.log);
    EnvFilter::try_new(whole).map_err(|error| error.to_string())
}

fn lines(format: Format) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match format {
        Format::Pretty => lines.pretty().boxed(),
        Format::Compact => lines.compact().boxed(),
        Format::Json => lines.json().boxed(),
    }
}

// === impl TelemetryConfig ===

impl TelemetryConfig {
    /// Adds to `errors` whatever stands outside its guardrails; `path` is where this table is in the file.
    pub fn validate(&self, path: &str, errors: &mut Vec<String>) {
        if let Err(error) = filter(self) {
            errors.push(format!("{path}.log = {:?}: must be a log filter such as \"info\": {error}", self.log));
        }
        if self.trace_percent > 100 {
            errors.push(format!("{path}.trace_percent = {}: must be from 0 to 100", self.trace_percent));
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: Format::Compact, trace_percent: 0 }
    }
}

// === impl Telemetry ===

impl Drop for Telemetry {
    fn drop(&mut self) {
        // Nothing can be done about telemetry that cannot be flushed, and nobody is left to be told.
        let _ = self.provider.shutdown();
    }
}
