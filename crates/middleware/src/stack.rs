//! The two stacks, outermost rung first, with the reason for the place of each.

use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::{Status, body::Body, transport::Channel};
use tower::{ServiceBuilder, util::Either};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    BoxFuture,
    attempt_timeout::AttemptTimeout,
    breaker::Breaker,
    bulkhead::Bulkhead,
    config::{ClientConfig, DeadlineConfig, ServerConfig},
    deadline::{DeadlineIn, DeadlineOut},
    policy::Policies,
    retry::Retry,
    trace::{TraceIn, TraceOut},
    transport::Transport,
};

/// Who retries: exactly one layer of a call path may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// A caller of the platform: the stack retries.
    Edge,
    /// A step of a saga: the saga retries, durably and with patience, and the stack does not.
    Step,
}

/// A client stack around a channel: `FooClient::new(client)`. Cheap to clone; clones share breaker, bulkhead, budget.
#[derive(Clone, Debug)]
pub struct Client {
    stack: ClientStack<Channel>,
}

/// The server stack, as a layer.
#[derive(Clone, Debug)]
pub struct ServerStack {
    deadline: DeadlineConfig,
    policies: Policies,
}

type ClientStack<S> = TraceOut<DeadlineOut<Either<Retry<Guarded<S>>, Guarded<S>>>>;
type Guarded<S> = Breaker<Bulkhead<AttemptTimeout<Transport<S>>>>;

/// The client stack for one target.
pub fn client(config: &ClientConfig, policies: &Policies, preset: Preset, transport: Channel) -> Client {
    Client { stack: compose(config, policies, preset, transport) }
}

/// The server stack for a set of services.
pub fn server(config: &ServerConfig, policies: &Policies) -> ServerStack {
    ServerStack { deadline: config.deadline.clone(), policies: policies.clone() }
}

fn compose<S: Clone>(config: &ClientConfig, policies: &Policies, preset: Preset, transport: S) -> ClientStack<S> {
    ServiceBuilder::new()
        // Outermost, so that the span covers every attempt and refusal, and carries the outcome that the caller sees.
        .layer_fn(TraceOut::new)
        // Outside of retry: the deadline is the call's, however many attempts it takes.
        .layer_fn(|inner| DeadlineOut::new(inner, &config.deadline, policies))
        // Outside of the breaker, so that every attempt counts there, and so that an open breaker, which says when to
        // come back, is itself something to wait for.
        .layer_fn(|inner: Guarded<S>| match preset {
            Preset::Edge => Either::Left(Retry::new(inner, &config.retry, policies)),
            Preset::Step => Either::Right(inner),
        })
        // Outside of the bulkhead: calls that an open breaker refuses take no places.
        .layer_fn(|inner| Breaker::new(inner, &config.breaker, &config.attempt, policies))
        // Outside of the attempt timeout, which is how the place of a call that hangs becomes free again.
        .layer_fn(|inner| Bulkhead::new(inner, &config.bulkhead, policies))
        // Innermost: the time of an attempt begins when it is sent, and its end is a failure that the breaker sees.
        .layer_fn(|inner| AttemptTimeout::new(inner, &config.attempt, policies))
        .layer_fn(Transport::new)
        .service(transport)
}

// === impl Client ===

impl Service<Request<Body>> for Client {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.stack.call(request);
        Box::pin(async move { Ok(call.await?.map(Body::new)) })
    }
}

// === impl ServerStack ===

impl<S> Layer<S> for ServerStack {
    type Service = TraceIn<DeadlineIn<S>>;

    fn layer(&self, handler: S) -> Self::Service {
        ServiceBuilder::new()
            // Outermost, so that refusals by the rungs inside are in the trace as well.
            .layer_fn(TraceIn::new)
            // Before anything that costs: what cannot end in time is not begun.
            .layer_fn(|inner| DeadlineIn::new(inner, &self.deadline, &self.policies))
            .service(handler)
    }
}

#[cfg(test)]
mod tests;
