//! A payment, its refunds, and what the provider still has to be asked about them.
//!
//! The provider is a remote party: what it is asked is first written down (`AUTHORIZING`, `CAPTURING`, `VOIDING`, a
//! pending refund), then asked outside any transaction, then the answer is written. A crash in between leaves a row that
//! says what to find out, under a reference that never changes.

use std::str::FromStr;

use spillway_types::{BuyerId, Currency, Fault, Fingerprint, Money, OrderId, Reason, RequestId, Timestamp};

use super::{Event, Shares, State, Tenders};

/// Which refund of which payment.
pub type RefundKey = (OrderId, RequestId);

/// A payment's row. It is also the idempotency record of the Authorize that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The order's id.
    pub payment_id: OrderId,
    /// Where it stands.
    pub state: State,
    /// How many changes there were; 0 where there never was a payment.
    pub version: i64,
    /// What was asked; none for a tombstone.
    pub asked: Option<Asked>,
    /// The recorded "no", to the authorisation (`DECLINED`) or to the capture (`VOIDED`).
    pub decline: Option<Fault>,
    /// Why it was decided against; empty in other states.
    pub void_reason: String,
    /// The provider's name for it; empty while there is none.
    pub provider_reference: String,
    /// When everything was held; a payment voided before that was never answered as authorised.
    pub authorized_at: Option<Timestamp>,
    /// What is given back or promised to be.
    pub claimed: Shares,
    /// What was given back.
    pub refunded: Shares,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What an Authorize asked, and how the price was shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who pays.
    pub buyer: BuyerId,
    /// What the command said.
    pub fingerprint: Fingerprint,
    /// Price of the order before coupon and points.
    pub amount: Money,
    /// How it is paid.
    pub tenders: Tenders,
    /// What pays for the method's share.
    pub instrument: String,
}

/// One refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Which.
    pub key: RefundKey,
    /// How it is given back.
    pub shares: Shares,
    /// In what.
    pub currency: Currency,
    /// Where it stands.
    pub state: RefundState,
    /// Why, for people.
    pub reason: String,
    /// The recorded "no" of the provider.
    pub decline: Option<Fault>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// The provider was asked; its answer is not known yet.
    Pending,
    /// Given back.
    Done,
    /// The provider refuses.
    Declined,
}

/// Something to ask the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// For which payment.
    pub payment_id: OrderId,
    /// What.
    pub ask: Ask,
    /// How much.
    pub amount: Money,
    /// What pays, or is paid back to.
    pub instrument: String,
}

/// What the provider can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// Hold the money.
    Authorize,
    /// Hand it over.
    Capture,
    /// Let go of it.
    Void,
    /// Give some of it back.
    Refund(RequestId),
}

/// What became of it. Only answers for good: silence is no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Held, under the provider's name for it.
    Authorized(String),
    /// Not held, and why.
    AuthorizationDeclined(String),
    /// Ours.
    Captured,
    /// Not handed over, and why. The provider lets go of it by itself.
    CaptureDeclined(String),
    /// Not held any more.
    Voided,
    /// Given back.
    Refunded(RequestId),
    /// Not given back, and why.
    RefundDeclined(RequestId, String),
}

// === impl Payment ===

impl Payment {
    /// What stays behind when a Void comes first: the Authorize that comes later is refused.
    pub const fn tombstone(payment_id: OrderId, void_reason: String, now: Timestamp) -> Self {
        Self {
            payment_id,
            state: State::Voided,
            version: 0,
            asked: None,
            decline: None,
            void_reason,
            provider_reference: String::new(),
            authorized_at: None,
            claimed: Shares { points: 0, method: 0 },
            refunded: Shares { points: 0, method: 0 },
            created_at: now,
            updated_at: now,
        }
    }

    /// The same payment after `event`.
    ///
    /// # Errors
    /// `ILLEGAL_TRANSITION` when that cannot happen to it.
    pub fn after(&self, event: Event, now: Timestamp) -> Result<Self, Fault> {
        let state = self.state.next(event).ok_or_else(|| self.out_of_turn())?;
        Ok(Self { state, version: self.version + 1, updated_at: now, ..self.clone() })
    }

    /// The refusal of a command that its state does not allow.
    pub fn out_of_turn(&self) -> Fault {
        let text = format!("the payment is {}; that does not allow this", self.state);
        Fault::new(Reason::IllegalTransition, text).with("current_state", self.state)
    }

    /// Whether some of it is paid at the provider.
    pub fn needs_provider(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.tenders.method > 0)
    }

    /// What was really paid and not yet promised back.
    pub fn left(&self) -> Shares {
        let paid = self.asked.as_ref().filter(|_| self.state.is_past_capture());
        paid.map_or(Shares::default(), |asked| asked.tenders.paid().minus(self.claimed))
    }

    /// What the provider has to be asked before this payment moves on. Refunds are asked about apart.
    pub fn task(&self) -> Option<Task> {
        let ask = match self.state {
            State::Authorizing => Ask::Authorize,
            State::Capturing => Ask::Capture,
            State::Voiding => Ask::Void,
            State::Authorized
            | State::Captured
            | State::Voided
            | State::Declined
            | State::PartiallyRefunded
            | State::Refunded => return None,
        };
        let asked = self.asked.as_ref()?;
        let amount = Money::new(asked.tenders.method, asked.amount.currency);
        Some(Task { payment_id: self.payment_id, ask, amount, instrument: asked.instrument.clone() })
    }
}

// === impl Refund ===

impl Refund {
    /// What the provider has to be asked before this refund is done.
    pub fn task(&self, payment: &Payment) -> Option<Task> {
        let asked = payment.asked.as_ref().filter(|_| self.state == RefundState::Pending)?;
        Some(Task {
            payment_id: payment.payment_id,
            ask: Ask::Refund(self.key.1),
            amount: Money::new(self.shares.method, self.currency),
            instrument: asked.instrument.clone(),
        })
    }
}

// === impl RefundState ===

impl RefundState {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Done => "DONE",
            Self::Declined => "DECLINED",
        }
    }
}

impl FromStr for RefundState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Pending, Self::Done, Self::Declined];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no refund state"))
    }
}

// === impl Task ===

impl Task {
    /// Our name for what is asked, the same however often it is asked: a provider does it once. A payment's
    /// authorisation, capture and void share one.
    pub fn reference(&self) -> String {
        match self.ask {
            Ask::Authorize | Ask::Capture | Ask::Void => self.payment_id.to_string(),
            Ask::Refund(request_id) => format!("{}:{request_id}", self.payment_id),
        }
    }
}

// === impl Ask ===

impl Ask {
    /// The state of a payment for which the provider did what it was asked; `None` for refunds, which have their own.
    pub const fn hoped_for(self) -> Option<State> {
        match self {
            Self::Authorize => Some(State::Authorized),
            Self::Capture => Some(State::Captured),
            Self::Void => Some(State::Voided),
            Self::Refund(_) => None,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// The refund that this is about; `None` when it is about the payment itself.
    pub const fn refund(&self) -> Option<RequestId> {
        match self {
            Self::Refunded(request_id) | Self::RefundDeclined(request_id, _) => Some(*request_id),
            Self::Authorized(_)
            | Self::AuthorizationDeclined(_)
            | Self::Captured
            | Self::CaptureDeclined(_)
            | Self::Voided => None,
        }
    }
}
