use serde::Deserialize;
use spillway_middleware::ClientConfig;

use super::*;
use crate::{AdminConfig, ServerConfig, TelemetryConfig};

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    telemetry: TelemetryConfig,
    admin: AdminConfig,
    server: ServerConfig,
    client: ClientConfig,
}

impl Validate for Shared {
    fn validate(&self, errors: &mut Vec<String>) {
        self.telemetry.validate("telemetry", errors);
        self.server.validate("server", errors);
        self.client.validate("client", errors);
    }
}

/// A configuration file that goes with its test.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spillway-{}-{name}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_document_says_what_the_code_does_without_it() {
    let shared: Shared = load(DEFAULTS, None, std::iter::empty(), &[]).unwrap();
    let expected = Shared {
        telemetry: TelemetryConfig::default(),
        admin: AdminConfig::default(),
        server: ServerConfig::default(),
        client: ClientConfig::default(),
    };
    assert_eq!(shared, expected);
}

#[test]
fn each_layer_covers_the_one_below() {
    let file = Temporary::new(
        "layers",
        "[server]\ndrain_ms = 1\nhandshake_ms = 1_000\nkeepalive_timeout_ms = 1_000\nreflection = false",
    );
    let env = pairs(&[
        ("SPILLWAY__SERVER__HANDSHAKE_MS", "2_000"),
        ("SPILLWAY__SERVER__KEEPALIVE_TIMEOUT_MS", "2000"),
        ("SPILLWAY__TELEMETRY__FORMAT", "json"),
        ("SPILLWAYX", "not ours"),
        ("HOME", "/nowhere"),
    ]);
    let overrides = pairs(&[("server.keepalive_timeout_ms", "3000")]);
    let shared: Shared = load(DEFAULTS, Some(&file.0), env.into_iter(), &overrides).unwrap();
    let server = &shared.server;
    assert_eq!((server.drain_ms, server.handshake_ms, server.keepalive_timeout_ms), (1, 2_000, 3_000));
    assert_eq!((server.reflection, server.max_connections), (false, 4_096));
    assert_eq!(shared.telemetry.format, crate::telemetry::Format::Json);
}

#[test]
fn every_error_is_told_at_once_with_its_source() {
    let file = Temporary::new(
        "errors",
        "[server]\ndrain_ms = \"long\"\nmax_conections = 5\nmax_concurrent_streams = 5_000_000_000\n\
         [client.breaker]\nprobes_needed = 9\n[telemetry]\nformat = \"fancy\"",
    );
    let env = pairs(&[
        ("SPILLWAY__CLIENT__RETRY__ATTEMPTS", "many"),
        ("SPILLWAY__SERVER__REFLECTION", "maybe"),
        ("SPILLWAY__SEVER__DRAIN_MS", "1"),
    ]);
    let overrides = pairs(&[("client.bulkhead.reads", "0"), ("server.handshake_ms", "2.7")]);
    let errors = load::<Shared>(DEFAULTS, Some(&file.0), env.into_iter(), &overrides).unwrap_err();
    let text = errors.to_string();
    let path = file.0.display();
    for expected in [
        format!("server.drain_ms = \"long\": must be a whole number (from file {path})"),
        format!("server.max_conections: unknown key (from file {path}); [server] has connection_age_jitter_percent"),
        "server.max_concurrent_streams = 5000000000: must be an unsigned 32 bit".to_owned(),
        format!("client.breaker.probes_needed = 9: must be from 1 to 5 (from file {path})"),
        "telemetry.format = \"fancy\": ".to_owned(),
        "client.retry.attempts = \"many\": must be a whole number (from environment variable \
         SPILLWAY__CLIENT__RETRY__ATTEMPTS)"
            .to_owned(),
        "server.reflection = \"maybe\": must be true or false (from environment variable".to_owned(),
        "sever.drain_ms: unknown key (from environment variable SPILLWAY__SEVER__DRAIN_MS); there are admin, client, server, \
         telemetry"
            .to_owned(),
        "client.bulkhead.reads = 0: must be from 1 to 1000000 (from command line)".to_owned(),
        "server.handshake_ms = \"2.7\": must be a whole number (from command line)".to_owned(),
    ] {
        assert!(text.lines().any(|line| line.starts_with(&expected)), "no line {expected:?} in\n{text}");
    }
    assert_eq!(text.lines().count(), 10, "{text}");
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_one_line() {
    let missing = load::<Shared>(DEFAULTS, Some(Path::new("/nowhere/at.toml")), std::iter::empty(), &[]).unwrap_err();
    assert!(missing.to_string().starts_with("file /nowhere/at.toml: "), "{missing}");
    let broken = Temporary::new("broken", "[server\ndrain_ms = ");
    let broken = load::<Shared>(DEFAULTS, Some(&broken.0), std::iter::empty(), &[]).unwrap_err();
    assert_eq!(broken.to_string().lines().count(), 1, "{broken}");
}

#[test]
fn lists_are_written_with_commas_outside_of_documents() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Peers {
        peers: Vec<String>,
    }
    impl Validate for Peers {
        fn validate(&self, _: &mut Vec<String>) {}
    }
    let env = pairs(&[("SPILLWAY__PEERS", "a:1, b:2")]);
    let loaded: Peers = load("peers = []", None, env.into_iter(), &[]).unwrap();
    assert_eq!(loaded.peers, ["a:1", "b:2"]);
}
