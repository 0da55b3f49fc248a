//! What every process of the platform needs around its services.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | settings from defaults, file, environment and command line; every error at once |
//! | [`telemetry`] | logs and spans |
//! | [`server`] | the one place where a gRPC server is built: all limits, health, reflection, bounded drain |
//! | [`health`] | probes, and the status that they make |
//! | [`admin`] | the listener for operators and scrapers |
//! | [`metrics`] | instruments, and how they are read |
//! | [`channel`] | lazy channels with the client stack around them |
//! | [`process`] | what the main of a service's own process does |
//! | [`shutdown`] | SIGTERM and SIGINT as a token |
//!
//! A service's `run` is then: open the store, make the handler, and
//!
//! ```ignore
//! Server::new(&config.server, &policies())
//!     .descriptors(FILE_DESCRIPTOR_SET)
//!     .service(FooServer::new(handler).max_decoding_message_size(MAX_DECODE_BYTES))
//!     .probe("store", move || store.ping())
//!     .serve(listener, shutdown)
//!     .await
//! ```
#![warn(missing_docs)]

pub mod admin;
pub mod channel;
pub mod config;
pub mod health;
pub mod metrics;
pub mod process;
pub mod server;
pub mod shutdown;
pub mod telemetry;

use spillway_contracts::policy::{Idempotency, methods};
use spillway_middleware::{Policies, Policy};

pub use admin::{Admin, AdminConfig};
pub use channel::connect;
pub use server::{Server, ServerConfig};
pub use telemetry::{Telemetry, TelemetryConfig};

/// The allocator of every process that links this crate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The policy of every method of the platform, as its proto declares it.
pub fn policies() -> Policies {
    Policies::new(methods().map(|method| {
        let policy = match method.idempotency {
            _ if method.server_streaming => Policy::stream(),
            Idempotency::NoSideEffects => Policy::read(),
            Idempotency::Idempotent | Idempotency::Unknown => Policy::write(method.idempotency.is_safe_to_repeat()),
        };
        (method.path, policy)
    }))
}

#[cfg(test)]
mod tests {
    use spillway_middleware::Kind;

    use super::*;

    #[test]
    fn the_protos_decide_what_a_method_is() {
        let policies = policies();
        assert_eq!(policies.of("/spillway.order.v1.OrderService/GetOrder"), Policy::read());
        assert_eq!(policies.of("/spillway.order.v1.OrderService/WatchOrder").kind, Kind::Stream);
        assert_eq!(policies.of("/spillway.orchestrator.v1.CheckoutService/PlaceOrder"), Policy::write(true));
    }
}
