//! The states of a payment, and which event leads from one to another.

use std::{fmt, str::FromStr};

/// Where a payment stands. The words are also what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The provider was asked to authorise; its answer is not known yet.
    Authorizing,
    /// Coupon and points are held, the rest is authorised.
    Authorized,
    /// The provider was asked to capture; its answer is not known yet.
    Capturing,
    /// The money is ours.
    Captured,
    /// Decided against; the provider is being told.
    Voiding,
    /// Decided against. Nothing is held.
    Voided,
    /// Refused. Nothing is held.
    Declined,
    /// Captured, and some of it given back.
    PartiallyRefunded,
    /// Captured, and all of it given back.
    Refunded,
}

/// What can happen to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The provider holds the money.
    Authorized,
    /// The provider refuses to hold it.
    Declined,
    /// We ask for the money.
    CaptureAsked,
    /// It is ours.
    Captured,
    /// The provider refuses to hand it over.
    CaptureDeclined,
    /// We decide against the payment.
    VoidAsked,
    /// Nothing is held at the provider any more.
    Voided,
    /// Some of what was captured is promised to, or refused to, the buyer; the state does not show it yet.
    RefundClaimed,
    /// Some of it was given back.
    RefundedPart,
    /// The last of it was given back.
    RefundedAll,
}

/// Every state with its stored name.
pub const STATES: [(State, &str); 9] = [
    (State::Authorizing, "AUTHORIZING"),
    (State::Authorized, "AUTHORIZED"),
    (State::Capturing, "CAPTURING"),
    (State::Captured, "CAPTURED"),
    (State::Voiding, "VOIDING"),
    (State::Voided, "VOIDED"),
    (State::Declined, "DECLINED"),
    (State::PartiallyRefunded, "PARTIALLY_REFUNDED"),
    (State::Refunded, "REFUNDED"),
];

// === impl State ===

impl State {
    /// Where `event` leads from here; `None` when it cannot happen here. Every legal pair is in this match and nowhere
    /// else.
    pub const fn next(self, event: Event) -> Option<Self> {
        use Event as E;
        Some(match (self, event) {
            // ## Authorizing => (Authorized | Declined | Voiding)
            (Self::Authorizing, E::Authorized) => Self::Authorized,
            (Self::Authorizing, E::Declined) => Self::Declined,
            // A Void does not wait for the provider's answer: whatever it is, it is undone next.
            (Self::Authorizing | Self::Authorized, E::VoidAsked) => Self::Voiding,

            // ## Authorized => (Capturing | Voiding), or at once when the provider has no part in it
            (Self::Authorized, E::CaptureAsked) => Self::Capturing,
            // ## Capturing => (Captured | Voided): only the provider can tell which
            (Self::Authorized | Self::Capturing, E::Captured) => Self::Captured,
            (Self::Capturing, E::CaptureDeclined) => Self::Voided,

            // ## Voiding => (Voided)
            (Self::Authorized | Self::Voiding, E::Voided) => Self::Voided,

            // ## Captured, PartiallyRefunded => (PartiallyRefunded | Refunded)
            (Self::Captured, E::RefundClaimed) => Self::Captured,
            (Self::PartiallyRefunded, E::RefundClaimed) => Self::PartiallyRefunded,
            (Self::Captured | Self::PartiallyRefunded, E::RefundedPart) => Self::PartiallyRefunded,
            (Self::Captured | Self::PartiallyRefunded, E::RefundedAll) => Self::Refunded,

            // ## Voided, Declined, Refunded: final
            _ => return None,
        })
    }

    /// Whether the money was taken, whatever became of it later.
    pub const fn is_past_capture(self) -> bool {
        matches!(self, Self::Captured | Self::PartiallyRefunded | Self::Refunded)
    }

    /// The stored name.
    pub fn as_str(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("UNKNOWN", |(_, name)| name)
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = STATES.iter().find(|(_, name)| *name == text);
        found.map(|(state, _)| *state).ok_or_else(|| format!("{text:?} is no payment state"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 10] = [
        Event::Authorized,
        Event::Declined,
        Event::CaptureAsked,
        Event::Captured,
        Event::CaptureDeclined,
        Event::VoidAsked,
        Event::Voided,
        Event::RefundClaimed,
        Event::RefundedPart,
        Event::RefundedAll,
    ];

    #[test]
    fn only_the_listed_transitions_exist() {
        use Event as E;
        use State as S;
        let legal = [
            (S::Authorizing, E::Authorized, S::Authorized),
            (S::Authorizing, E::Declined, S::Declined),
            (S::Authorizing, E::VoidAsked, S::Voiding),
            (S::Authorized, E::CaptureAsked, S::Capturing),
            (S::Authorized, E::Captured, S::Captured),
            (S::Authorized, E::VoidAsked, S::Voiding),
            (S::Authorized, E::Voided, S::Voided),
            (S::Capturing, E::Captured, S::Captured),
            (S::Capturing, E::CaptureDeclined, S::Voided),
            (S::Voiding, E::Voided, S::Voided),
            (S::Captured, E::RefundClaimed, S::Captured),
            (S::Captured, E::RefundedPart, S::PartiallyRefunded),
            (S::Captured, E::RefundedAll, S::Refunded),
            (S::PartiallyRefunded, E::RefundClaimed, S::PartiallyRefunded),
            (S::PartiallyRefunded, E::RefundedPart, S::PartiallyRefunded),
            (S::PartiallyRefunded, E::RefundedAll, S::Refunded),
        ];
        for (state, _) in STATES {
            for event in EVENTS {
                let expected = legal.iter().find(|row| (row.0, row.1) == (state, event)).map(|row| row.2);
                assert_eq!(state.next(event), expected, "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn nothing_leads_back_across_the_pivot() {
        for (state, _) in STATES.into_iter().filter(|(state, _)| state.is_past_capture()) {
            for event in EVENTS {
                assert!(state.next(event).is_none_or(State::is_past_capture), "{state} on {event:?}");
            }
        }
    }

    #[test]
    fn names_read_back() {
        for (state, name) in STATES {
            assert_eq!(name.parse(), Ok(state));
        }
    }
}
