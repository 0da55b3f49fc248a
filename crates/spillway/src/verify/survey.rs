//! What there is, and what is worth knowing though it violates nothing.

use std::collections::BTreeMap;

use spillway_types::{Money, Timestamp};
use sqlx::Row;

use super::{Totals, VerifyError, database::Databases};

/// Things that are counted, and what is said when there are any.
const COUNTED: [(&str, &str); 7] = [
    (
        "sagas are under way or ended just now; what they touch was not compared across files",
        "select count(*) from orchestrator.saga
          where id not in (select id from finished where updated <= (select quiet_since from moment))",
    ),
    ("sagas were paused by an operator", "select count(*) from orchestrator.saga where status = 'PAUSED'"),
    (
        "reservations belong to no saga: somebody called Reserve directly",
        "select count(*) from inventory.reservation where order_id not in (select id from orchestrator.saga)",
    ),
    (
        "payments belong to no saga: somebody called Authorize directly",
        "select count(*) from payment.payment where payment_id not in (select id from orchestrator.saga)",
    ),
    (
        "shipment plans belong to no saga: somebody called PlanShipments directly",
        "select count(*) from fulfilment.shipment_plan where order_id not in (select id from orchestrator.saga)",
    ),
    (
        "pieces of news are dead letters, or wait behind one: `orders` has to be told to take them up again",
        "select count(*) from orders.dead_letter",
    ),
    (
        "pieces of news were published lately and are still on their way",
        "select count(*) from fulfilment.outbox
          where topic = 'fulfilment.shipments' and published_at > (select told_since from moment)
            and payload ->> 'order_state' in ('DISPATCHED', 'HANDED_OVER', 'DELIVERED')
            and event_id not in (select event_id from orders.inbox where consumer = 'order.shipments')",
    ),
];

const PARKED: &str = "
    select id, parked ->> 'reason', parked ->> 'message', parked ->> '$.metadata.step', wakeup
      from orchestrator.saga where status = 'PARKED' order by created, id";

const UNPUBLISHED: &str = "
    select 'inventory', count(*), min(occurred_at) from inventory.outbox where published_at is null
    union all
    select 'order', count(*), min(occurred_at) from orders.outbox where published_at is null
    union all
    select 'payment', count(*), min(occurred_at) from payment.outbox where published_at is null
    union all
    select 'fulfilment', count(*), min(occurred_at) from fulfilment.outbox where published_at is null";

const CAPTURED: &str = "
    select currency, sum(points + method), sum(refunded_points + refunded_method)
      from payment.payment
     where state in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED')
     group by currency order by currency";

const ORDERS: &str = "select state, count(*) from orders.orders group by state";
const SAGAS: &str = "select status, count(*) from orchestrator.saga group by status";
const SOLD: &str = "select coalesce(sum(confirmed), 0) from inventory.reservation_line";

/// Every statement here.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    let counted = COUNTED.into_iter().map(|(_, sql)| sql);
    counted.chain([PARKED, UNPUBLISHED, CAPTURED, ORDERS, SAGAS, SOLD])
}

/// What is worth knowing.
pub(super) async fn notes(databases: &mut Databases, rows_max: usize) -> Result<Vec<String>, VerifyError> {
    let mut notes = Vec::new();
    for (text, sql) in COUNTED {
        match databases.count(text, sql).await? {
            0 => {}
            count => notes.push(format!("{count} {text}")),
        }
    }
    let parked = databases.rows("parked sagas", PARKED).await?;
    for row in parked.iter().take(rows_max) {
        let text = |column: usize| row.get::<Option<String>, _>(column).unwrap_or_else(|| "unknown".to_owned());
        let wakeup = row.get::<Option<i64>, _>(4).map(Timestamp::from_micros);
        let wakeup = wakeup.map_or_else(|| "never".to_owned(), |wakeup| wakeup.to_string());
        let (saga, reason, message, step) = (text(0), text(1), text(2), text(3));
        notes.push(format!("saga {saga} is parked at {step}: {reason}: {message}; next try at {wakeup}"));
    }
    if let Some(more) = parked.len().checked_sub(rows_max).filter(|more| *more > 0) {
        notes.push(format!("{more} more sagas are parked"));
    }
    for row in databases.rows("events that are not published", UNPUBLISHED).await? {
        if let Some(oldest) = row.get::<Option<i64>, _>(2) {
            let (service, count) = (row.get::<String, _>(0), row.get::<i64, _>(1));
            let oldest = Timestamp::from_micros(oldest);
            notes.push(format!("{count} events of {service} are not published yet, the oldest since {oldest}"));
        }
    }
    if !databases.has_provider() {
        notes.push("there is no sandbox provider's journal here to compare payments with".to_owned());
    }
    Ok(notes)
}

/// What there is.
pub(super) async fn totals(databases: &mut Databases) -> Result<Totals, VerifyError> {
    let mut totals = Totals {
        orders: counts(databases, "orders by state", ORDERS).await?,
        sagas: counts(databases, "sagas by status", SAGAS).await?,
        units_sold: databases.count("units sold", SOLD).await?,
        ..Totals::default()
    };
    for row in databases.rows("money captured", CAPTURED).await? {
        // A currency that is none would have been refused by the service; it shows in the checks, not here.
        if let Ok(currency) = row.get::<String, _>(0).parse() {
            totals.captured.push(Money::new(row.get(1), currency));
            totals.refunded.push(Money::new(row.get(2), currency));
        }
    }
    totals.refunded.retain(|amount| amount.minor != 0);
    Ok(totals)
}

async fn counts(
    databases: &mut Databases,
    what: &'static str,
    sql: &'static str,
) -> Result<BTreeMap<String, u64>, VerifyError> {
    let rows = databases.rows(what, sql).await?;
    Ok(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<i64, _>(1)).unwrap_or(0))).collect())
}
