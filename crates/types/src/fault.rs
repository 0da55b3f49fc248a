//! Errors as callers see them, and the one table that gives each reason its gRPC code and its class.
//!
//! Services build a [`Fault`]; the middleware turns it into a `google.rpc.Status` with details, and back on the other
//! side. Retry, breaker, metrics and the saga ask [`Reason::class`] or [`Code::class`] and match on nothing else.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The canonical gRPC codes, by their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// What an outcome means to whoever decides about retrying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It worked.
    Success,
    /// It certainly had no effect; trying again may work.
    Transient,
    /// The other side is too busy; trying again now makes it worse.
    Overload,
    /// Asking again gives the same answer.
    Terminal,
    /// It may or may not have happened.
    Unknown,
}

/// Why a request was not fulfilled: `google.rpc.ErrorInfo.reason` in the domain `spillway`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the table below says what each one is")]
pub enum Reason {
    InvalidRequest,
    OutOfStock,
    PurchaseLimit,
    SaleNotOpen,
    NotEligible,
    PriceChanged,
    PaymentDeclined,
    InsufficientPoints,
    CouponUnavailable,
    Unshippable,
    RequestIdReused,
    Cancelled,
    Expired,
    IllegalTransition,
    NotCancellable,
    NotReturnable,
    VersionConflict,
    NotFound,
    AlreadyExists,
    Unauthenticated,
    NotAllowed,
    BreakerOpen,
    Draining,
    Unreachable,
    Shed,
    BulkheadFull,
    RateLimited,
    DeadlineExceeded,
    OutcomeUnknown,
    Internal,
}

/// The table: reason, its name on the wire, its code, its class.
const TABLE: [(Reason, &str, Code, Class); 30] = [
    (Reason::InvalidRequest, "INVALID_REQUEST", Code::InvalidArgument, Class::Terminal),
    (Reason::OutOfStock, "OUT_OF_STOCK", Code::FailedPrecondition, Class::Terminal),
    (Reason::PurchaseLimit, "PURCHASE_LIMIT", Code::FailedPrecondition, Class::Terminal),
    (Reason::SaleNotOpen, "SALE_NOT_OPEN", Code::FailedPrecondition, Class::Terminal),
    (Reason::NotEligible, "NOT_ELIGIBLE", Code::FailedPrecondition, Class::Terminal),
    (Reason::PriceChanged, "PRICE_CHANGED", Code::FailedPrecondition, Class::Terminal),
    (Reason::PaymentDeclined, "PAYMENT_DECLINED", Code::FailedPrecondition, Class::Terminal),
    (Reason::InsufficientPoints, "INSUFFICIENT_POINTS", Code::FailedPrecondition, Class::Terminal),
    (Reason::CouponUnavailable, "COUPON_UNAVAILABLE", Code::FailedPrecondition, Class::Terminal),
    (Reason::Unshippable, "UNSHIPPABLE", Code::FailedPrecondition, Class::Terminal),
    (Reason::RequestIdReused, "REQUEST_ID_REUSED", Code::AlreadyExists, Class::Terminal),
    (Reason::Cancelled, "CANCELLED", Code::FailedPrecondition, Class::Terminal),
    (Reason::Expired, "EXPIRED", Code::FailedPrecondition, Class::Terminal),
    (Reason::IllegalTransition, "ILLEGAL_TRANSITION", Code::FailedPrecondition, Class::Terminal),
    (Reason::NotCancellable, "NOT_CANCELLABLE", Code::FailedPrecondition, Class::Terminal),
    (Reason::NotReturnable, "NOT_RETURNABLE", Code::FailedPrecondition, Class::Terminal),
    (Reason::VersionConflict, "VERSION_CONFLICT", Code::Aborted, Class::Terminal),
    (Reason::NotFound, "NOT_FOUND", Code::NotFound, Class::Terminal),
    (Reason::AlreadyExists, "ALREADY_EXISTS", Code::AlreadyExists, Class::Terminal),
    (Reason::Unauthenticated, "UNAUTHENTICATED", Code::Unauthenticated, Class::Terminal),
    (Reason::NotAllowed, "NOT_ALLOWED", Code::PermissionDenied, Class::Terminal),
    (Reason::BreakerOpen, "BREAKER_OPEN", Code::Unavailable, Class::Transient),
    (Reason::Draining, "DRAINING", Code::Unavailable, Class::Transient),
    (Reason::Unreachable, "UNREACHABLE", Code::Unavailable, Class::Transient),
    (Reason::Shed, "SHED", Code::ResourceExhausted, Class::Overload),
    (Reason::BulkheadFull, "BULKHEAD_FULL", Code::ResourceExhausted, Class::Overload),
    (Reason::RateLimited, "RATE_LIMITED", Code::ResourceExhausted, Class::Overload),
    (Reason::DeadlineExceeded, "DEADLINE_EXCEEDED", Code::DeadlineExceeded, Class::Unknown),
    (Reason::OutcomeUnknown, "OUTCOME_UNKNOWN", Code::Unknown, Class::Unknown),
    (Reason::Internal, "INTERNAL", Code::Internal, Class::Unknown),
];

/// An error as a caller sees it. Serialisable, since a recorded refusal is stored and given again for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Why.
    pub reason: Reason,
    /// For people: what went wrong and what to do next. Never names internals.
    pub message: String,
    /// Dynamic values, by lower-snake-case name (`ErrorInfo.metadata`).
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Each field that is wrong (`BadRequest`).
    #[serde(default)]
    pub fields: Vec<FieldViolation>,
    /// Each condition that does not hold (`PreconditionFailure`).
    #[serde(default)]
    pub preconditions: Vec<Precondition>,
    /// What was not found, or is in the way (`ResourceInfo`).
    #[serde(default)]
    pub resource: Option<Resource>,
    /// When trying again makes sense (`RetryInfo`).
    #[serde(default)]
    pub retry_after: Option<Duration>,
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldViolation {
    /// Path in the request, such as `lines[1].sku`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precondition {
    /// Kind of condition, such as `STOCK`.
    pub kind: String,
    /// What it is about, such as a SKU.
    pub subject: String,
    /// What is the case instead.
    pub description: String,
}

/// A thing that an error is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Kind of thing, such as `order`.
    pub kind: String,
    /// Its id.
    pub name: String,
}

/// Collects every wrong field of a request, so that a caller hears of all of them at once.
#[derive(Clone, Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

// === impl Code ===

impl Code {
    /// The class of an outcome of which only the code is known.
    pub const fn class(self) -> Class {
        match self {
            Self::Ok => Class::Success,
            Self::Unavailable => Class::Transient,
            Self::ResourceExhausted => Class::Overload,
            Self::Cancelled | Self::Unknown | Self::DeadlineExceeded | Self::Internal | Self::DataLoss => {
                Class::Unknown
            }
            Self::InvalidArgument
            | Self::NotFound
            | Self::AlreadyExists
            | Self::PermissionDenied
            | Self::FailedPrecondition
            | Self::Aborted
            | Self::OutOfRange
            | Self::Unimplemented
            | Self::Unauthenticated => Class::Terminal,
        }
    }
}

// === impl Reason ===

impl Reason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The gRPC code it travels with.
    pub fn code(self) -> Code {
        self.row().2
    }

    /// What it means to whoever decides about retrying.
    pub fn class(self) -> Class {
        self.row().3
    }

    fn row(self) -> &'static (Self, &'static str, Code, Class) {
        // The table is in the order of the enum; `the_table_is_in_order` holds it there.
        &TABLE[usize::from(self as u8)]
    }
}

impl FromStr for Reason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        TABLE.iter().find(|row| row.1 == text).map(|row| row.0).ok_or(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Fault ===

impl Fault {
    /// A fault with a message for people.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
            fields: Vec::new(),
            preconditions: Vec::new(),
            resource: None,
            retry_after: None,
        }
    }

    /// Something internal went wrong. The cause is for the log, not for the caller.
    pub fn internal() -> Self {
        Self::new(Reason::Internal, "something went wrong on our side; try again with the same request_id")
    }

    /// There is no such thing.
    pub fn not_found(kind: &str, name: impl fmt::Display) -> Self {
        let mut fault = Self::new(Reason::NotFound, format!("there is no {kind} {name}"));
        fault.resource = Some(Resource { kind: kind.to_owned(), name: name.to_string() });
        fault
    }

    /// The idempotency key came before with other content.
    pub fn request_id_reused(key: impl fmt::Display) -> Self {
        Self::new(Reason::RequestIdReused, "this request_id was used before with another request; mint a new one")
            .with("request_id", key)
    }

    /// A tombstone stands: the compensation came first.
    pub fn tombstone() -> Self {
        Self::new(Reason::Cancelled, "this was cancelled before it arrived").recorded()
    }

    /// Marks a refusal as durable: its owner gives the same answer to this key for ever. Only such a refusal, or a
    /// gate's "no" to a first attempt, may turn a saga back.
    #[must_use]
    pub fn recorded(self) -> Self {
        self.with("recorded", true)
    }

    /// Whether the owner of the data has recorded this refusal.
    pub fn is_recorded(&self) -> bool {
        self.metadata.get("recorded").is_some_and(|value| value == "true")
    }

    /// Adds a dynamic value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.metadata.insert(name.to_owned(), value.to_string());
        self
    }

    /// Adds a condition that does not hold.
    #[must_use]
    pub fn with_precondition(mut self, kind: &str, subject: impl fmt::Display, description: impl Into<String>) -> Self {
        let (kind, subject, description) = (kind.to_owned(), subject.to_string(), description.into());
        self.preconditions.push(Precondition { kind, subject, description });
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

// === impl Violations ===

impl Violations {
    /// Notes a wrong field.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation { field: field.into(), description: description.into() });
    }

    /// Parses a field, noting it when it is wrong.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&mut self, field: impl Into<String>, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.add(field, error.to_string())).ok()
    }

    /// Takes a result, noting the field when it is an error.
    pub fn take<T, E: fmt::Display>(&mut self, field: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// The value, when nothing was wrong; else every violation in one fault.
    ///
    /// # Errors
    /// When a field was noted, or (a slip in the caller) `value` is missing although none was.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Fault> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.into()),
        }
    }
}

impl From<Violations> for Fault {
    fn from(violations: Violations) -> Self {
        let text: Vec<_> = violations.0.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
        let mut fault = Self::new(Reason::InvalidRequest, format!("the request is malformed: {}", text.join("; ")));
        fault.fields = violations.0;
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(position, usize::from(row.0 as u8), "{} is out of place", row.1);
            assert_eq!(row.1.parse(), Ok(row.0));
            assert_eq!(serde_name(row.0), row.1, "stored and sent names must agree");
        }
    }

    fn serde_name(reason: Reason) -> String {
        format!("{reason:?}").chars().fold(String::new(), |mut name, c| {
            if c.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
            name
        })
    }

    #[test]
    fn a_malformed_request_hears_of_every_field_at_once() {
        let mut violations = Violations::default();
        let sku = violations.parse::<crate::Sku>("lines[0].sku", "");
        let buyer = violations.parse::<crate::BuyerId>("buyer_id", "a b");
        let fault = violations.finish(sku.zip(buyer)).unwrap_err();
        let fields: Vec<_> = fault.fields.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!((fault.reason, fields), (Reason::InvalidRequest, vec!["lines[0].sku", "buyer_id"]));
    }
}
