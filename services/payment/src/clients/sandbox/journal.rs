//! The rules of the sandbox's journal: each charge and each payback exists once.

use std::str::FromStr;

use spillway_storage::{Rules, Tracked};
use spillway_types::{Money, Timestamp};

/// Something asked of the sandbox, under the merchant's reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Hold money.
    Authorize {
        /// The merchant's name for the charge.
        reference: String,
        /// The charge as it is when this is the first that is heard of it.
        charge: Charge,
    },
    /// Hand it over.
    Capture {
        /// The merchant's name for the charge.
        reference: String,
        /// Whether the instrument refuses.
        refuse: bool,
    },
    /// Let go of it, for now and for whatever comes later.
    Void {
        /// The merchant's name for the charge.
        reference: String,
        /// How much was meant to be held.
        amount: Money,
    },
    /// Give some of it back.
    PayBack {
        /// The merchant's name for the payback.
        reference: String,
        /// The merchant's name for the charge.
        charge: String,
        /// How much, in minor units.
        amount: i64,
    },
}

/// A charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What pays; empty when voided before it arrived.
    pub instrument: String,
    /// How much.
    pub amount: Money,
    /// Where it stands.
    pub state: ChargeState,
}

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeState {
    /// Money is held.
    Authorized,
    /// It never was.
    Declined,
    /// It was handed over.
    Captured,
    /// It was to be handed over, and was let go instead.
    CaptureDeclined,
    /// It was let go.
    Voided,
}

/// Money given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayBack {
    /// Of which charge.
    pub charge: String,
    /// How much, in minor units.
    pub amount: i64,
}

/// Whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Done,
    /// It will never be.
    Refused,
}

/// What the sandbox says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What became of it.
    pub outcome: Outcome,
    /// Whether this very call did it.
    pub first: bool,
}

/// The rows that one batch touches.
#[derive(Debug, Default)]
pub struct Entries {
    pub(super) charges: Tracked<String, Charge>,
    /// By reference; all of every charge that a payback of the batch is about.
    pub(super) paybacks: Tracked<String, PayBack>,
}

/// The journal's rules, as group commit wants them.
#[derive(Clone, Copy, Debug)]
pub struct Journal;

// === impl Journal ===

impl Rules for Journal {
    type Command = Deed;
    type Answer = Reply;
    type Rows = Entries;

    fn decide(rows: &mut Entries, deed: &Deed, _: Timestamp) -> Reply {
        match deed {
            Deed::Authorize { reference, charge } => rows.authorize(reference, charge),
            Deed::Capture { reference, refuse } => rows.capture(reference, *refuse),
            Deed::Void { reference, amount } => rows.void(reference, *amount),
            Deed::PayBack { reference, charge, amount } => rows.pay_back(reference, charge, *amount),
        }
    }
}

// === impl Entries ===

impl Entries {
    fn authorize(&mut self, reference: &String, charge: &Charge) -> Reply {
        let known = self.charges.get(reference).map(|known| known.state);
        if known.is_none() {
            self.charges.put(reference.clone(), charge.clone());
        }
        let outcome = match known.unwrap_or(charge.state) {
            ChargeState::Authorized | ChargeState::Captured | ChargeState::CaptureDeclined => Outcome::Done,
            ChargeState::Declined | ChargeState::Voided => Outcome::Refused,
        };
        Reply { outcome, first: known.is_none() }
    }

    fn capture(&mut self, reference: &String, refuse: bool) -> Reply {
        let Some(known) = self.charges.get(reference).cloned() else {
            return Reply { outcome: Outcome::Refused, first: false };
        };
        match known.state {
            ChargeState::Authorized => {
                let (state, outcome) = if refuse {
                    (ChargeState::CaptureDeclined, Outcome::Refused)
                } else {
                    (ChargeState::Captured, Outcome::Done)
                };
                self.charges.put(reference.clone(), Charge { state, ..known });
                Reply { outcome, first: true }
            }
            ChargeState::Captured => Reply { outcome: Outcome::Done, first: false },
            ChargeState::Declined | ChargeState::CaptureDeclined | ChargeState::Voided => {
                Reply { outcome: Outcome::Refused, first: false }
            }
        }
    }

    fn void(&mut self, reference: &String, amount: Money) -> Reply {
        let unknown = Charge { instrument: String::new(), amount, state: ChargeState::Authorized };
        let known = self.charges.get(reference).cloned().unwrap_or(unknown);
        match known.state {
            ChargeState::Authorized => {
                self.charges.put(reference.clone(), Charge { state: ChargeState::Voided, ..known });
                Reply { outcome: Outcome::Done, first: true }
            }
            ChargeState::Captured => Reply { outcome: Outcome::Refused, first: false },
            ChargeState::Declined | ChargeState::CaptureDeclined | ChargeState::Voided => {
                Reply { outcome: Outcome::Done, first: false }
            }
        }
    }

    fn pay_back(&mut self, reference: &String, charge: &String, amount: i64) -> Reply {
        if self.paybacks.get(reference).is_some() {
            return Reply { outcome: Outcome::Done, first: false };
        }
        let captured = self.charges.get(charge).filter(|charge| charge.state == ChargeState::Captured);
        let given: i64 = self.paybacks.iter().filter(|(_, other)| other.charge == *charge).map(|(_, p)| p.amount).sum();
        if captured.is_none_or(|charge| amount > charge.amount.minor - given) {
            return Reply { outcome: Outcome::Refused, first: false };
        }
        self.paybacks.put(reference.clone(), PayBack { charge: charge.clone(), amount });
        Reply { outcome: Outcome::Done, first: true }
    }
}

// === impl ChargeState ===

impl ChargeState {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "AUTHORIZED",
            Self::Declined => "DECLINED",
            Self::Captured => "CAPTURED",
            Self::CaptureDeclined => "CAPTURE_DECLINED",
            Self::Voided => "VOIDED",
        }
    }
}

impl FromStr for ChargeState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Authorized, Self::Declined, Self::Captured, Self::CaptureDeclined, Self::Voided];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no charge state"))
    }
}
