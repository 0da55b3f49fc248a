use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tower::service_fn;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::testing::{Answer, Double, READ, call, request};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A server whose handler calls on; gives the `traceparent` that arrives there.
async fn pass(incoming: Option<&str>) -> Option<String> {
    let next = Double::new([Answer::Good]);
    let client = TraceOut::new(next.clone());
    let handler = service_fn(move |_: Request<Body>| {
        let mut client = client.clone();
        async move {
            // As a handler does: after a while, so that the context has to survive being polled again.
            tokio::task::yield_now().await;
            call(&mut client, request(READ)).await.map(|response| response.map(Body::new))
        }
    });
    let handler = tower::ServiceBuilder::new().boxed_clone().service(handler);
    let mut sent = request(READ);
    if let Some(parent) = incoming {
        sent.headers_mut().insert("traceparent", parent.parse().unwrap());
    }
    call(&mut TraceIn::new(handler), sent).await.unwrap();
    let seen = next.seen();
    seen[0].head.headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_trace_is_passed_on_although_nobody_listens() {
    assert_eq!(pass(Some(PARENT)).await.as_deref(), Some(PARENT));
    assert_eq!(pass(None).await, None, "nothing is made up");
    assert_eq!(pass(Some("nonsense")).await, None);
}

#[tokio::test]
async fn a_trace_goes_on_in_spans_of_our_own() {
    let provider = SdkTracerProvider::builder().build();
    let subscriber =
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
    let _listening = tracing::subscriber::set_default(subscriber);
    let passed = pass(Some(PARENT)).await.unwrap();
    assert_eq!(passed[..36], PARENT[..36], "the same trace");
    assert_ne!(passed, PARENT, "but another span");
    let fresh = pass(None).await.unwrap();
    assert!(fresh.starts_with("00-") && fresh[3..35] != PARENT[3..35], "{fresh}");
}

#[test]
fn sold_out_is_no_error_of_the_server() {
    assert!(!is_server_error(Code::FailedPrecondition));
    assert!(!is_server_error(Code::ResourceExhausted));
    assert!(is_server_error(Code::Unavailable));
}
