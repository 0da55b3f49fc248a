//! A reservation: units of several SKUs promised to one order, all or nothing.

use serde::{Deserialize, Serialize};
use spillway_types::{BuyerId, Fault, Fingerprint, Money, OrderId, Sku, Timestamp};

/// Where a reservation stands.
///
/// ```text
///   (none) ─► HELD ─► PINNED ─► CONFIRMED
///      │        │        └────► RELEASED
///      │        ├─► CONFIRMED, RELEASED, EXPIRED
///      │        └ (reserved pinned: starts as PINNED)
///      ├─► REFUSED    the recorded "no" to a Reserve
///      └─► RELEASED   a tombstone: the release came first
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Promised until a moment.
    Held,
    /// Promised until somebody says otherwise.
    Pinned,
    /// Sold.
    Confirmed,
    /// Taken back, or never to be.
    Released,
    /// Lapsed.
    Expired,
    /// Refused for a reason that is repeated for ever.
    Refused,
}

/// How long a promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// Until somebody says otherwise: for sagas, which always end their own holds.
    Pinned,
    /// Until so much time has passed: for direct callers.
    For(std::time::Duration),
}

/// Units of one SKU, at the price of the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What.
    pub sku: Sku,
    /// Its title at that moment.
    pub title: String,
    /// How many are promised.
    pub quantity: u32,
    /// How many of them were sold in the end.
    pub confirmed: u32,
    /// Price of one unit at that moment.
    pub unit_price: Money,
}

/// A reservation's row. It is also the idempotency record of the Reserve that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Whose promise, and the key of everything asked of it.
    pub order_id: OrderId,
    /// Who buys; none for a tombstone.
    pub buyer_id: Option<BuyerId>,
    /// What was asked; none for a tombstone.
    pub fingerprint: Option<Fingerprint>,
    /// Where it stands.
    pub state: State,
    /// What is promised; empty for a tombstone or a refusal.
    pub lines: Vec<Line>,
    /// When a `HELD` one may be taken back.
    pub expires_at: Option<Timestamp>,
    /// The recorded "no".
    pub refusal: Option<Fault>,
    /// How many state changes there were; 0 where there never was a promise.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

// === impl State ===

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Held, Self::Pinned, Self::Confirmed, Self::Released, Self::Expired, Self::Refused];

    /// Whether a promise may go from here to there.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Held => matches!(next, Self::Pinned | Self::Confirmed | Self::Released | Self::Expired),
            Self::Pinned => matches!(next, Self::Confirmed | Self::Released),
            Self::Confirmed | Self::Released | Self::Expired | Self::Refused => false,
        }
    }

    /// The name in the database and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Pinned => "PINNED",
            Self::Confirmed => "CONFIRMED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
            Self::Refused => "REFUSED",
        }
    }

    /// The state of a stored name.
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

// === impl Reservation ===

impl Reservation {
    /// What stays behind when a release comes first: the reserve that comes later is refused.
    pub const fn tombstone(order_id: OrderId, now: Timestamp) -> Self {
        Self {
            order_id,
            buyer_id: None,
            fingerprint: None,
            state: State::Released,
            lines: Vec::new(),
            expires_at: None,
            refusal: None,
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// The same reservation, one transition on.
    #[must_use]
    pub fn becoming(&self, state: State, now: Timestamp) -> Self {
        Self { state, version: self.version + 1, expires_at: None, updated_at: now, ..self.clone() }
    }

    /// Whether its time is over at `now`. Only the transition to `EXPIRED` asks this; all else judges the stored state.
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.state == State::Held && self.expires_at.is_some_and(|at| at <= now)
    }
}
