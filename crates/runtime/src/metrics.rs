//! Numbers. Whoever owns a number makes an OpenTelemetry instrument of it, with name, unit and description; here they are
//! gathered, and written out in Prometheus' text format for whoever asks the admin listener.
//!
//! Most instruments are observed: they read a counter that is kept anyway, when somebody asks, and cost nothing else. An
//! instrument that is made before `init` stays silent.

use std::sync::OnceLock;

use opentelemetry::global;
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

/// The instruments of this process, once telemetry has started.
static METRICS: OnceLock<Metrics> = OnceLock::new();

/// The `Content-Type` of what `text` gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug)]
struct Metrics {
    registry: Registry,
    /// Dropped, it would end the collection.
    _provider: SdkMeterProvider,
}

/// Gathers the instruments that are made from now on, for the process called `service`. Only the first call counts.
///
/// # Errors
/// When there can be no exporter.
pub(crate) fn init(service: &'static str) -> Result<(), String> {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(|error| error.to_string())?;
    let resource = Resource::builder().with_service_name(service).build();
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).build();
    if METRICS.set(Metrics { registry, _provider: provider.clone() }).is_ok() {
        global::set_meter_provider(provider);
    }
    Ok(())
}

/// Every number as it is now, in Prometheus' text format; nothing before [`init`].
///
/// # Errors
/// When a number cannot be written.
pub(crate) fn text() -> Result<String, String> {
    let families = METRICS.get().map(|metrics| metrics.registry.gather()).unwrap_or_default();
    TextEncoder::new().encode_to_string(&families).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;

    use super::*;

    #[test]
    fn an_instrument_is_read_under_its_name_with_unit_and_labels() {
        init("test").unwrap();
        let meter = global::meter("test");
        meter.u64_counter("test.parcels.sent").build().add(3, &[KeyValue::new("carrier", "mail")]);
        let _age =
            meter.f64_observable_gauge("test.age").with_unit("s").with_callback(|age| age.observe(1.5, &[])).build();
        let text = text().unwrap();
        for line in [r#"test_parcels_sent_total{carrier="mail"} 3"#, "test_age_seconds 1.5", r#"service_name="test""#] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
