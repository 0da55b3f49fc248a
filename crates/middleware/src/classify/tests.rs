use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;

use super::*;
use crate::testing::{Answer, Double, READ, call, request};

#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<Code>>>);

impl Observer for Heard {
    fn ended(self, code: Code) {
        self.0.lock().unwrap().push(code);
    }
}

async fn watched(answer: Answer) -> (Response<Observed<tonic::body::Body, Heard>>, Heard) {
    let response = call(&mut Double::new([answer]), request(READ)).await.unwrap();
    let heard = Heard::default();
    (Observed::watch(response, heard.clone()), heard)
}

#[tokio::test]
async fn a_failure_is_found_in_headers_and_in_trailers() {
    let (_, heard) = watched(Answer::Refusal(Code::NotFound)).await;
    assert_eq!(*heard.0.lock().unwrap(), [Code::NotFound]);

    for (answer, code) in [(Answer::Good, Code::Ok), (Answer::Late(Code::Aborted), Code::Aborted)] {
        let (response, heard) = watched(answer).await;
        assert_eq!(*heard.0.lock().unwrap(), [], "headers alone tell nothing");
        let _ = response.into_body().collect().await;
        assert_eq!(*heard.0.lock().unwrap(), [code]);
    }
}

#[tokio::test]
async fn an_answer_that_is_dropped_is_never_heard_of() {
    let (response, heard) = watched(Answer::Good).await;
    drop(response);
    assert_eq!(*heard.0.lock().unwrap(), []);
    assert_eq!(Arc::strong_count(&heard.0), 1, "the observer is gone");
}

#[tokio::test]
async fn an_answer_without_a_status_is_an_unknown_outcome() {
    let heard = Heard::default();
    let response = Observed::watch(Response::new(tonic::body::Body::empty()), heard.clone());
    let _ = response.into_body().collect().await;
    assert_eq!(*heard.0.lock().unwrap(), [Code::Unknown]);
}

#[test]
fn a_proxy_that_knows_no_grpc_is_understood() {
    for (status, code) in [(503, Code::Unavailable), (404, Code::Unimplemented), (500, Code::Unknown)] {
        let response = Response::builder().status(status).body(()).unwrap();
        assert_eq!(early_code(&response), Some(code));
        assert_eq!(early_failure(&response).map(|status| from_tonic(status.code())), Some(code));
    }
    assert_eq!(early_code(&Response::new(())), None);
}
