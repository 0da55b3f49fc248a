//! [`Fault`] to [`tonic::Status`] and back: the only place where the two meet.
//!
//! Going out, a fault becomes a `google.rpc.Status` with each kind of detail at most once, and with
//! `grpc-retry-pushback-ms` beside `RetryInfo`, since gRPC clients read the former and people's tools the latter.
//! Coming back, `ErrorInfo` of our domain restores the reason; a status from elsewhere is understood by its code.

use std::{collections::HashMap, time::Duration};

use http::HeaderMap;
use spillway_types::{
    Code, Fault, Reason,
    fault::{FieldViolation, Precondition, Resource},
};
use tonic::{Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every error of ours.
pub const DOMAIN: &str = "spillway";

/// The gRPC trailer by which a server says when, or that never, to try again (gRFC A6).
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What a server said about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// Nothing: the caller's own back-off decides.
    Absent,
    /// After exactly this long.
    After(Duration),
    /// Not at all: negative, or not a number.
    Never,
}

/// The status that carries `fault` to the caller.
pub fn from_fault(fault: Fault) -> Status {
    let code = fault.reason.code();
    let mut metadata = MetadataMap::new();
    if let Some(after) = fault.retry_after {
        metadata.insert(PUSHBACK, u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into());
    }
    let mut details = ErrorDetails::new();
    for violation in fault.fields {
        details.add_bad_request_violation(violation.field, violation.description);
    }
    for condition in fault.preconditions {
        details.add_precondition_failure_violation(condition.kind, condition.subject, condition.description);
    }
    if let Some(resource) = fault.resource {
        details.set_resource_info(resource.kind, resource.name, "", fault.message.clone());
    }
    if fault.retry_after.is_some() {
        details.set_retry_info(fault.retry_after);
    }
    if code == Code::ResourceExhausted {
        let subject = fault.metadata.get("limit").map_or(fault.reason.as_str(), String::as_str);
        details.add_quota_failure_violation(subject, fault.message.clone());
    }
    let dynamic: HashMap<_, _> = fault.metadata.into_iter().collect();
    details.set_error_info(fault.reason.as_str(), DOMAIN, dynamic);
    Status::with_error_details_and_metadata(to_tonic(code), fault.message, details, metadata)
}

/// The fault that `status` carries, or the nearest one when it is not from us.
pub fn to_fault(status: &Status) -> Fault {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    // A reason that this build does not know comes from a newer one: its code still tells the class.
    let reason = info.and_then(|info| info.reason.parse().ok()).unwrap_or_else(|| reason_of(from_tonic(status.code())));
    let mut fault = Fault::new(reason, status.message());
    if let Some(info) = info {
        fault.metadata = info.metadata.clone().into_iter().collect();
    }
    if let Some(bad) = details.bad_request() {
        fault.fields = bad
            .field_violations
            .iter()
            .map(|v| FieldViolation { field: v.field.clone(), description: v.description.clone() })
            .collect();
    }
    if let Some(failure) = details.precondition_failure() {
        fault.preconditions = failure
            .violations
            .iter()
            .map(|v| Precondition {
                kind: v.r#type.clone(),
                subject: v.subject.clone(),
                description: v.description.clone(),
            })
            .collect();
    }
    fault.resource = details
        .resource_info()
        .map(|info| Resource { kind: info.resource_type.clone(), name: info.resource_name.clone() });
    fault.retry_after = match pushback_of(status) {
        Pushback::After(after) => Some(after),
        Pushback::Absent | Pushback::Never => None,
    };
    fault
}

/// Our own name for tonic's code.
pub fn from_tonic(code: tonic::Code) -> Code {
    match code {
        tonic::Code::Ok => Code::Ok,
        tonic::Code::Cancelled => Code::Cancelled,
        tonic::Code::Unknown => Code::Unknown,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::ResourceExhausted => Code::ResourceExhausted,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Aborted => Code::Aborted,
        tonic::Code::OutOfRange => Code::OutOfRange,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Internal => Code::Internal,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DataLoss => Code::DataLoss,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
    }
}

/// What `status` says about trying again: the gRPC trailer, else `RetryInfo`.
pub(crate) fn pushback_of(status: &Status) -> Pushback {
    match pushback_in(status.metadata().as_ref()) {
        Pushback::Absent => {
            status.get_details_retry_info().and_then(|info| info.retry_delay).map_or(Pushback::Absent, Pushback::After)
        }
        said => said,
    }
}

/// What these trailers say about trying again.
pub(crate) fn pushback_in(trailers: &HeaderMap) -> Pushback {
    let Some(value) = trailers.get(PUSHBACK) else { return Pushback::Absent };
    let millis = value.to_str().ok().and_then(|text| text.parse::<i64>().ok());
    // gRFC A6: whatever does not parse as a number is read as a refusal.
    match millis.map(u64::try_from) {
        Some(Ok(millis)) => Pushback::After(Duration::from_millis(millis)),
        Some(Err(_)) | None => Pushback::Never,
    }
}

fn to_tonic(code: Code) -> tonic::Code {
    tonic::Code::from_i32(code as i32)
}

/// The reason to assume when only the code is known.
fn reason_of(code: Code) -> Reason {
    match code {
        Code::Unavailable => Reason::Unreachable,
        Code::ResourceExhausted => Reason::Shed,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        // The other side has no such method, or not for these values: asking again gives the same answer.
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Reason::InvalidRequest,
        Code::NotFound => Reason::NotFound,
        Code::AlreadyExists => Reason::AlreadyExists,
        Code::PermissionDenied => Reason::NotAllowed,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::FailedPrecondition => Reason::IllegalTransition,
        Code::Aborted => Reason::VersionConflict,
        Code::Cancelled | Code::Unknown => Reason::OutcomeUnknown,
        Code::Ok | Code::Internal | Code::DataLoss => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Fault {
        let mut fault = Fault::new(Reason::OutOfStock, "1 SKU is short")
            .with("order_id", "o-1")
            .with_precondition("STOCK", "sku-1", "2 left")
            .with_precondition("STOCK", "sku-2", "0 left")
            .with_retry_after(Duration::from_millis(1_500));
        fault.fields.push(FieldViolation { field: "lines[0].sku".into(), description: "too long".into() });
        fault.resource = Some(Resource { kind: "item".into(), name: "sku-1".into() });
        fault
    }

    #[test]
    fn a_fault_survives_the_way_there_and_back() {
        let status = from_fault(full());
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(to_fault(&status), full());
    }

    #[test]
    fn a_fault_survives_the_wire_headers() {
        let response = from_fault(full()).into_http::<tonic::body::Body>();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(to_fault(&status), full());
        assert_eq!(response.headers()[PUSHBACK], "1500");
    }

    #[test]
    fn every_reason_keeps_its_class_over_the_wire() {
        for reason in [
            Reason::InvalidRequest,
            Reason::Cancelled,
            Reason::BreakerOpen,
            Reason::Shed,
            Reason::DeadlineExceeded,
            Reason::OutcomeUnknown,
            Reason::Internal,
        ] {
            let back = to_fault(&from_fault(Fault::new(reason, "x")));
            assert_eq!((back.reason, back.reason.class()), (reason, reason.class()));
        }
    }

    #[test]
    fn each_kind_of_detail_comes_once() {
        let status = from_fault(full());
        let kinds = status.get_error_details_vec().len();
        // ErrorInfo, BadRequest, PreconditionFailure, ResourceInfo, RetryInfo.
        assert_eq!(kinds, 5);
    }

    #[test]
    fn a_full_bulkhead_names_its_quota() {
        let status = from_fault(Fault::new(Reason::BulkheadFull, "64 calls are in flight").with("limit", "reads"));
        let details = status.get_error_details();
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "reads");
    }

    #[test]
    fn a_foreign_status_is_understood_by_its_code() {
        for code in 1..=16 {
            let status = Status::new(tonic::Code::from_i32(code), "from elsewhere");
            let fault = to_fault(&status);
            assert_eq!(fault.reason.class(), from_tonic(status.code()).class(), "code {code}");
        }
        let mut foreign = ErrorDetails::new();
        foreign.set_error_info("OUT_OF_STOCK", "shop.example", HashMap::new());
        let status = Status::with_error_details(tonic::Code::NotFound, "no", foreign);
        assert_eq!(to_fault(&status).reason, Reason::NotFound, "another domain's reasons are not ours");
    }

    #[test]
    fn a_pushback_that_is_no_number_forbids_trying_again() {
        let said = |text: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert(PUSHBACK, text.parse().unwrap());
            pushback_in(&trailers)
        };
        assert_eq!(said("250"), Pushback::After(Duration::from_millis(250)));
        assert_eq!(said("0"), Pushback::After(Duration::ZERO));
        assert_eq!((said("-1"), said("soon")), (Pushback::Never, Pushback::Never));
        assert_eq!(pushback_in(&HeaderMap::new()), Pushback::Absent);
    }
}
