//! The sandbox: a payment provider for trying things out. It plays a remote party, so it keeps a journal of its own in
//! books of its own, which the sandboxes of all replicas share, and its answers can come late or get lost.
//!
//! | instrument | what it does |
//! |---|---|
//! | `sandbox:approved` | pays |
//! | `sandbox:declined` | is refused at authorisation |
//! | `sandbox:capture-declined` | is authorised, and refused at capture |
//! | `sandbox:timeout` | pays, but the first answer to its authorisation is lost; whoever looks it up finds it |
//! | `sandbox:slow` | pays, each answer after a delay (a setting, 1.5 s by default) |

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use spillway_storage::{Committer, Resources, StoreError, database::DatabaseUrl, group_commit::Limits};

pub use self::store::SCHEMA;
use self::{
    journal::{Charge, ChargeState, Deed, Journal, Reply},
    store::Books,
};
use super::{Provider, Silence};
use crate::domain::{Ask, Outcome, Task};

pub mod journal;
mod store;

/// What the sandbox is paid with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instrument {
    Approved,
    Declined,
    CaptureDeclined,
    Timeout,
    Slow,
}

const INSTRUMENTS: [(Instrument, &str); 5] = [
    (Instrument::Approved, "sandbox:approved"),
    (Instrument::Declined, "sandbox:declined"),
    (Instrument::CaptureDeclined, "sandbox:capture-declined"),
    (Instrument::Timeout, "sandbox:timeout"),
    (Instrument::Slow, "sandbox:slow"),
];

/// The provider.
#[derive(Debug)]
pub struct Sandbox {
    committer: Committer<Journal>,
    books: Arc<dyn Books>,
    slow: Duration,
}

// === impl Sandbox ===

impl Sandbox {
    /// Opens the sandbox's books. `slow` is the delay of `sandbox:slow`.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub async fn open(
        url: &DatabaseUrl,
        limits: Limits,
        slow: Duration,
        resources: &Resources,
    ) -> Result<Self, StoreError> {
        let (committer, books) = store::open(url, limits, resources).await?;
        Ok(Self { committer, books, slow })
    }

    /// Brings the schema of its books up to date, and nothing else.
    ///
    /// # Errors
    /// When the database does not answer, or the schema cannot be brought up to date.
    pub async fn migrate(url: &DatabaseUrl, resources: &Resources) -> Result<(), StoreError> {
        store::migrate(url, resources).await
    }

    /// What it knows of one of our references.
    ///
    /// # Errors
    /// When its books do not open.
    pub async fn charge(&self, reference: &str) -> Result<Option<Charge>, StoreError> {
        self.books.charge(reference).await
    }

    /// How much of a charge it has given back, in minor units.
    ///
    /// # Errors
    /// When its books do not open.
    pub async fn paid_back(&self, reference: &str) -> Result<i64, StoreError> {
        self.books.paid_back(reference).await
    }

    async fn delay(&self, instrument: Option<Instrument>) {
        if instrument == Some(Instrument::Slow) {
            tokio::time::sleep(self.slow).await;
        }
    }
}

#[async_trait]
impl Provider for Sandbox {
    fn check(&self, instrument: &str) -> Result<(), String> {
        match Instrument::named(instrument) {
            Some(_) => Ok(()),
            None => {
                let known: Vec<_> = INSTRUMENTS.iter().map(|(_, name)| *name).collect();
                Err(format!("is no instrument of this provider; it has {}", known.join(", ")))
            }
        }
    }

    async fn perform(&self, task: &Task) -> Result<Outcome, Silence> {
        let instrument = Instrument::named(&task.instrument);
        self.delay(instrument).await;
        let Reply { outcome, first } = self.committer.submit(deed(task, instrument)).await.map_err(silent)?;
        if first && task.ask == Ask::Authorize && instrument == Some(Instrument::Timeout) {
            // Done, but the answer is lost on its way.
            std::future::pending::<()>().await;
        }
        Ok(named(outcome, task))
    }

    async fn lookup(&self, task: &Task) -> Result<Option<Outcome>, Silence> {
        self.delay(Instrument::named(&task.instrument)).await;
        if let Ask::Refund(request_id) = task.ask {
            let (charge, reference) = (task.payment_id.to_string(), task.reference());
            let done = self.books.is_paid_back(&charge, &reference).await.map_err(silent)?;
            return Ok(done.then_some(Outcome::Refunded(request_id)));
        }
        let charge = self.books.charge(&task.reference()).await.map_err(silent)?;
        let found = charge.and_then(|charge| match (task.ask, charge.state) {
            (Ask::Authorize, ChargeState::Declined | ChargeState::Voided) => Some(journal::Outcome::Refused),
            (Ask::Authorize, _) | (Ask::Capture, ChargeState::Captured) | (Ask::Void, ChargeState::Voided) => {
                Some(journal::Outcome::Done)
            }
            (Ask::Capture, ChargeState::Authorized) | (Ask::Void, _) | (Ask::Refund(_), _) => None,
            (Ask::Capture, _) => Some(journal::Outcome::Refused),
        });
        Ok(found.map(|outcome| named(outcome, task)))
    }
}

fn deed(task: &Task, instrument: Option<Instrument>) -> Deed {
    let reference = task.reference();
    let state = match instrument {
        Some(Instrument::Approved | Instrument::Timeout | Instrument::Slow | Instrument::CaptureDeclined) => {
            ChargeState::Authorized
        }
        Some(Instrument::Declined) | None => ChargeState::Declined,
    };
    match task.ask {
        Ask::Authorize => {
            let instrument = task.instrument.clone();
            Deed::Authorize { reference, charge: Charge { instrument, amount: task.amount, state } }
        }
        Ask::Capture => Deed::Capture { reference, refuse: instrument == Some(Instrument::CaptureDeclined) },
        Ask::Void => Deed::Void { reference, amount: task.amount },
        Ask::Refund(_) => Deed::PayBack { reference, charge: task.payment_id.to_string(), amount: task.amount.minor },
    }
}

/// What the journal says, in the words of the task.
fn named(outcome: journal::Outcome, task: &Task) -> Outcome {
    use journal::Outcome as J;
    match (task.ask, outcome) {
        (Ask::Authorize, J::Done) => Outcome::Authorized(format!("sandbox-{}", task.payment_id)),
        (Ask::Authorize, J::Refused) => {
            Outcome::AuthorizationDeclined("the sandbox declines this instrument".to_owned())
        }
        (Ask::Capture, J::Done) => Outcome::Captured,
        (Ask::Capture, J::Refused) => Outcome::CaptureDeclined("the sandbox refuses to capture".to_owned()),
        // A charge that was captured cannot be voided; a payment that is voided never asked for a capture.
        (Ask::Void, J::Done | J::Refused) => Outcome::Voided,
        (Ask::Refund(request_id), J::Done) => Outcome::Refunded(request_id),
        (Ask::Refund(request_id), J::Refused) => {
            Outcome::RefundDeclined(request_id, "more than the sandbox holds of it".to_owned())
        }
    }
}

fn silent(error: StoreError) -> Silence {
    Silence(error.to_string())
}

// === impl Instrument ===

impl Instrument {
    fn named(name: &str) -> Option<Self> {
        INSTRUMENTS.iter().find(|(_, known)| *known == name).map(|(instrument, _)| *instrument)
    }
}

#[cfg(test)]
mod tests;
