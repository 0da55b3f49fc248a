//! The domain as messages, and back.

use spillway_contracts::{
    convert::{self, to_money, to_timestamp},
    orchestrator::v1 as pb,
    types::v1 as types,
};
use spillway_saga::{Kind, SagaRow, Snapshot, Status, StepState, log::JournalStep};
use spillway_types::{Fault, Money, Violations};

use crate::domain::{NewOrder, PriceSnapshot, PricedLine, order::Address};

/// The most free lines of an address; what fits a label.
const ADDRESS_LINES_MAX: usize = 5;

/// A price, with what a coupon takes off where that is known.
pub(crate) fn to_price(price: &PriceSnapshot, discount: Option<Money>) -> types::PriceSnapshot {
    let nothing = Money::zero(price.goods_total.currency);
    let discount = discount.unwrap_or(nothing);
    // The sums were checked when the snapshot was taken, and a discount is never more than the amount.
    let total = price.amount().and_then(|amount| amount.checked_sub(discount)).unwrap_or(nothing);
    types::PriceSnapshot {
        lines: price.lines.iter().map(|line| to_line(line, nothing)).collect(),
        goods_total: Some(to_money(price.goods_total)),
        shipping: Some(to_money(price.shipping)),
        discount: Some(to_money(discount)),
        total: Some(to_money(total)),
    }
}

fn to_line(line: &PricedLine, nothing: Money) -> types::PricedLine {
    types::PricedLine {
        sku: line.sku.to_string(),
        title: line.title.clone(),
        quantity: line.quantity,
        unit_price: Some(to_money(line.unit_price)),
        line_total: Some(to_money(line.total().unwrap_or(nothing))),
    }
}

pub(crate) fn to_address(address: &Address) -> types::Address {
    types::Address {
        recipient: address.recipient.clone(),
        region: address.region.clone(),
        lines: address.lines.clone(),
        postal_code: address.postal_code.clone(),
        city: address.city.clone(),
    }
}

/// An address, every field of it checked.
pub(super) fn address(field: &str, address: Option<&types::Address>, wrong: &mut Violations) -> Option<Address> {
    let address = convert::required(field, address, wrong)?;
    let at = |part: &str| format!("{field}.{part}");
    let recipient = convert::text(&at("recipient"), &address.recipient, wrong);
    let region = convert::required_text(&at("region"), &address.region, wrong);
    // Judged at the door: further in, a malformed request is nobody's refusal and would park the saga.
    let region = region.and_then(|region| checked_region(&at("region"), region, wrong));
    let postal_code = convert::text(&at("postal_code"), &address.postal_code, wrong);
    let city = convert::text(&at("city"), &address.city, wrong);
    if address.lines.len() > ADDRESS_LINES_MAX {
        wrong.add(at("lines"), format!("must be at most {ADDRESS_LINES_MAX}"));
    }
    let free = address.lines.iter().take(ADDRESS_LINES_MAX).enumerate();
    let lines: Option<Vec<_>> = free.map(|(n, line)| convert::text(&at(&format!("lines[{n}]")), line, wrong)).collect();
    Some(Address { recipient: recipient?, region: region?, lines: lines?, postal_code: postal_code?, city: city? })
}

/// What fulfilment takes for a region.
fn checked_region(field: &str, region: String, wrong: &mut Violations) -> Option<String> {
    if region.len() == 2 && region.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Some(region);
    }
    wrong.add(field, "must be `EU` or an ISO 3166-1 alpha-2 country code in upper case, such as `DE`");
    None
}

/// A saga, from its row and from what its driver knows.
pub(super) fn saga(row: &SagaRow, live: Option<&Snapshot>) -> pb::Saga {
    let order: Option<NewOrder> = serde_json::from_str(&row.input).ok();
    let reason = row.parked.as_ref().or(row.cause.as_ref()).map(|fault| format!("{}: {}", fault.reason, fault.message));
    let steps = match (&row.journal, live) {
        (Some(journal), _) => journal.steps.iter().map(journal_step).collect(),
        (None, Some(live)) => live.steps.iter().map(live_step).collect(),
        (None, None) => Vec::new(),
    };
    pb::Saga {
        saga_id: row.id.to_string(),
        definition: row.definition.clone(),
        definition_version: row.version,
        state: state(row.status).into(),
        reason: reason.unwrap_or_default(),
        create_time: Some(to_timestamp(row.created)),
        update_time: Some(to_timestamp(row.updated)),
        next_wakeup_time: row.wakeup.map(to_timestamp),
        steps,
        epoch: row.epoch,
        order_id: row.id.to_string(),
        buyer_id: order.map(|order| order.buyer_id.to_string()).unwrap_or_default(),
    }
}

fn journal_step(step: &JournalStep) -> pb::SagaStep {
    pb::SagaStep {
        name: step.name.clone(),
        kind: kind(step.kind).into(),
        state: step_state(step.state).into(),
        attempts: step.attempts,
        last_error: last_error(step.last_error.as_ref()),
        start_time: step.started.map(to_timestamp),
        end_time: step.ended.map(to_timestamp),
    }
}

fn live_step(step: &spillway_saga::StepView) -> pb::SagaStep {
    pb::SagaStep {
        name: step.name.to_string(),
        kind: kind(step.kind).into(),
        state: step_state(step.state).into(),
        attempts: step.attempts,
        last_error: last_error(step.last_error.as_ref()),
        start_time: None,
        end_time: None,
    }
}

fn last_error(fault: Option<&Fault>) -> String {
    fault.map(|fault| format!("{}: {}", fault.reason, fault.message)).unwrap_or_default()
}

const fn kind(kind: Kind) -> pb::StepKind {
    match kind {
        Kind::Compensatable => pb::StepKind::Compensatable,
        Kind::Pivot => pb::StepKind::Pivot,
        Kind::Retriable => pb::StepKind::Retriable,
    }
}

const fn step_state(state: StepState) -> pb::StepState {
    match state {
        StepState::Idle => pb::StepState::Pending,
        StepState::InFlight | StepState::Retrying | StepState::Stuck | StepState::Pending => pb::StepState::Running,
        StepState::Refused => pb::StepState::Refused,
        StepState::Done => pb::StepState::Done,
        StepState::Undone => pb::StepState::Compensated,
    }
}

const fn state(status: Status) -> pb::SagaState {
    match status {
        Status::Running => pb::SagaState::Running,
        Status::Compensating => pb::SagaState::Compensating,
        Status::Waiting => pb::SagaState::Waiting,
        Status::Parked => pb::SagaState::Parked,
        Status::Paused => pb::SagaState::Paused,
        Status::Completed => pb::SagaState::Completed,
        Status::Refused => pb::SagaState::Refused,
        Status::Compensated => pb::SagaState::Compensated,
    }
}

/// The log's word for a state that a caller filters by; `None` for `UNSPECIFIED`, which parsing has refused.
pub(super) const fn status(state: pb::SagaState) -> Option<Status> {
    match state {
        pb::SagaState::Unspecified => None,
        pb::SagaState::Running => Some(Status::Running),
        pb::SagaState::Compensating => Some(Status::Compensating),
        pb::SagaState::Waiting => Some(Status::Waiting),
        pb::SagaState::Parked => Some(Status::Parked),
        pb::SagaState::Paused => Some(Status::Paused),
        pb::SagaState::Completed => Some(Status::Completed),
        pb::SagaState::Refused => Some(Status::Refused),
        pb::SagaState::Compensated => Some(Status::Compensated),
    }
}
