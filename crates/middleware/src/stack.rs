//! The two stacks, outermost rung first, with the reason for the place of each.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, body::Body};
use tower::{ServiceBuilder, util::Either};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    BoxFuture,
    attempt_timeout::AttemptTimeout,
    balance::{Balance, Guarded, Link, Peers, Quota, Reach, Set, keep_resolved},
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

/// A client stack around connections: `FooClient::new(client)`. Cheap to clone; clones share connections, breakers,
/// bulkheads, budget.
#[derive(Clone, Debug)]
pub struct Client {
    stack: ClientStack<Link>,
    /// Looks names up while any clone lives.
    _lookups: Option<Arc<AbortOnDropHandle<()>>>,
}

/// The server stack, as a layer.
#[derive(Clone, Debug)]
pub struct ServerStack {
    deadline: DeadlineConfig,
    policies: Policies,
}

type ClientStack<S> = TraceOut<DeadlineOut<Either<Retry<Balance<S>>, Balance<S>>>>;

/// The client stack for one target. It connects in the background, and again whenever it has to, so processes can start
/// in any order. Panics outside of a tokio runtime.
pub fn client(config: &ClientConfig, policies: &Policies, preset: Preset, peers: &Peers) -> Client {
    let set = guarded(config, policies);
    set.replace(&peers.known(), |address| Link::new(address.clone(), set.changed()));
    let lookups = peers.need_lookup().then(|| {
        let task = tokio::spawn(keep_resolved(peers.clone(), Arc::clone(&set)));
        Arc::new(AbortOnDropHandle::new(task))
    });
    Client { stack: compose(config, policies, preset, set), _lookups: lookups }
}

/// The server stack for a set of services.
pub fn server(config: &ServerConfig, policies: &Policies) -> ServerStack {
    ServerStack { deadline: config.deadline.clone(), policies: policies.clone() }
}

fn compose<S>(config: &ClientConfig, policies: &Policies, preset: Preset, set: Arc<Set<S>>) -> ClientStack<S> {
    ServiceBuilder::new()
        // Outermost, so that the span covers every attempt and refusal, and carries the outcome that the caller sees.
        .layer_fn(TraceOut::new)
        // Outside of retry: the deadline is the call's, however many attempts it takes.
        .layer_fn(|inner| DeadlineOut::new(inner, &config.deadline, policies))
        // Outside of the balancer, so that a retry goes where it has the best prospects, and so that breakers, which
        // say when to come back, are themselves something to wait for.
        .layer_fn(|inner: Balance<S>| match preset {
            Preset::Edge => Either::Left(Retry::new(inner, &config.retry, policies)),
            Preset::Step => Either::Right(inner),
        })
        // Outside of the guards, which each endpoint has for itself: one that fails or is full is one to go around.
        .service(Balance::new(set))
}

/// A set of endpoints, each of which gets guards of its own.
fn guarded<S: Reach + Clone>(config: &ClientConfig, policies: &Policies) -> Arc<Set<S>> {
    let (config, policies) = (config.clone(), policies.clone());
    Set::new(move |transport, quota| guard(&config, &policies, transport, quota))
}

fn guard<S>(config: &ClientConfig, policies: &Policies, transport: S, quota: &Arc<Quota>) -> Guarded<S> {
    ServiceBuilder::new()
        // Outside of the bulkhead: calls that an open breaker refuses take no places.
        .layer_fn(|inner| Breaker::new(inner, &config.breaker, &config.attempt, policies, quota))
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
pub(crate) mod tests;
