//! `grpc-timeout` on the wire: relative, at most eight digits and a unit. Read strictly: a deadline that we do not
//! understand is an error, since ignoring it means working for nobody.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use spillway_types::{Fault, Reason, fault::FieldViolation};

pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The most digits that the protocol allows.
const MAX_DIGITS: usize = 8;
const MAX_VALUE: u128 = 99_999_999;

/// The time that the caller gives, if it gives one.
///
/// # Errors
/// INVALID_ARGUMENT when the header is there but is not a timeout.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_bytes()).map(Some).ok_or_else(malformed),
        (Some(_), Some(_)) => Err(malformed()),
    }
}

/// Gives the other side `remaining`, in the finest unit that fits; rounded down, so never lengthened.
pub(crate) fn write(headers: &mut HeaderMap, remaining: Duration) {
    let nanos = remaining.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S')];
    let (count, unit) = units
        .into_iter()
        .map(|(size, unit)| (nanos / size, unit))
        .find(|(count, _)| *count <= MAX_VALUE)
        .unwrap_or((MAX_VALUE, 'S'));
    if let Ok(value) = HeaderValue::try_from(format!("{count}{unit}")) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let count = digits.iter().try_fold(0u64, |count, digit| match digit {
        b'0'..=b'9' => Some(count * 10 + u64::from(digit - b'0')),
        _ => None,
    })?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3_600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn malformed() -> Fault {
    let description = "must be one to eight digits and one of H, M, S, m, u, n, such as 500m";
    let mut fault = Fault::new(Reason::InvalidRequest, format!("grpc-timeout is malformed: it {description}"));
    fault.fields.push(FieldViolation { field: GRPC_TIMEOUT.to_owned(), description: description.to_owned() });
    fault
}
