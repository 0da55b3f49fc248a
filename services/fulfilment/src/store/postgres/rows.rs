//! Rows of fulfilment's tables, to and from the domain.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use spillway_storage::{StoreError, Tracked, postgres::column};
use spillway_types::{Fingerprint, OrderId, ShipmentId, Timestamp, WarehouseId};
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::domain::{CarrierReport, Day, Plan, PlanChange, PlanState, Shipment, ShipmentState, Warehouse};

/// Columns of a warehouse, in the order that [`warehouse`] reads them.
pub(super) const WAREHOUSE_COLUMNS: &str = "warehouse_id, regions, priority, capacity_per_day, assortment, \
                                            promised_days, active, version, created_at, updated_at";
/// Columns of a plan, in the order that [`plan`] reads them.
pub(super) const PLAN_COLUMNS: &str = "order_id, fingerprint, state, parcels, explanation, refusal, cancel_reason, \
                                       version, created_at, updated_at";
/// Columns of a shipment, in the order that [`shipment`] reads them.
pub(super) const SHIPMENT_COLUMNS: &str = "order_id, shipment_id, warehouse_id, lines, state, day, promised_at, \
                                           tracking, version, created_at, updated_at";

pub(super) fn warehouse(row: &PgRow) -> Result<Warehouse, StoreError> {
    Ok(Warehouse {
        warehouse_id: WarehouseId::new(row.get::<String, _>(0)).map_err(StoreError::corrupt)?,
        regions: from_json(row.get(1))?,
        priority: row.get(2),
        capacity_per_day: count(row.get(3))?,
        assortment: from_json(row.get(4))?,
        promised_days: count(row.get(5))?,
        active: row.get::<i32, _>(6) != 0,
        version: row.get(7),
        created_at: Timestamp::from_micros(row.get(8)),
        updated_at: Timestamp::from_micros(row.get(9)),
    })
}

pub(super) fn plan(row: &PgRow) -> Result<Plan, StoreError> {
    let state: &str = row.get(2);
    let refusal: Option<&str> = row.get(5);
    Ok(Plan {
        order_id: OrderId::new(row.get(0)),
        fingerprint: row.get::<Option<String>, _>(1).map(Fingerprint::stored),
        state: PlanState::from_stored(state).ok_or_else(|| StoreError::corrupt(format!("plan state {state:?}")))?,
        parcels: u16::try_from(row.get::<i32, _>(3)).map_err(StoreError::corrupt)?,
        explanation: row.get(4),
        refusal: refusal.map(from_json).transpose()?,
        cancel_reason: row.get(6),
        version: row.get(7),
        created_at: Timestamp::from_micros(row.get(8)),
        updated_at: Timestamp::from_micros(row.get(9)),
    })
}

pub(super) fn shipment(row: &PgRow) -> Result<Shipment, StoreError> {
    let state: &str = row.get(4);
    let known = ShipmentState::from_stored(state);
    Ok(Shipment {
        order_id: OrderId::new(row.get(0)),
        shipment_id: ShipmentId::new(row.get(1)),
        warehouse_id: WarehouseId::new(row.get::<String, _>(2)).map_err(StoreError::corrupt)?,
        lines: from_json(row.get(3))?,
        state: known.ok_or_else(|| StoreError::corrupt(format!("shipment state {state:?}")))?,
        day: Day(row.get(5)),
        promised_at: Timestamp::from_micros(row.get(6)),
        tracking: row.get(7),
        version: row.get(8),
        created_at: Timestamp::from_micros(row.get(9)),
        updated_at: Timestamp::from_micros(row.get(10)),
    })
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(StoreError::corrupt)
}

/// A column of JSON, ready to be bound.
fn json<'a, T: 'a, V: Serialize + 'a>(
    rows: impl IntoIterator<Item = &'a T>,
    value: impl Fn(&'a T) -> &'a V,
) -> Result<Vec<String>, StoreError> {
    rows.into_iter().map(|row| serde_json::to_string(value(row)).map_err(StoreError::corrupt)).collect()
}

/// A number that has no sign, from a type that has none without.
fn count(stored: i64) -> Result<u32, StoreError> {
    u32::try_from(stored).map_err(StoreError::corrupt)
}

/// Reads what warehouses have to send on a day, and locks it.
pub(super) async fn loads(
    connection: &mut PgConnection,
    keys: &BTreeSet<(WarehouseId, Day)>,
) -> Result<Tracked<(WarehouseId, Day), u32>, StoreError> {
    if keys.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(
        "select l.warehouse_id, l.day, l.parcels
           from warehouse_load l
           join unnest($1::text[], $2::bigint[]) k (warehouse_id, day)
             on l.warehouse_id = k.warehouse_id and l.day = k.day
          order by l.warehouse_id, l.day
            for update of l",
    )
    .bind(column(keys, |(warehouse_id, _)| warehouse_id.as_str()))
    .bind(column(keys, |(_, day)| day.0))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading warehouse loads"))?;
    let loads = rows.iter().map(|row| {
        let id = WarehouseId::new(row.get::<String, _>(0)).map_err(StoreError::corrupt)?;
        Ok(((id, Day(row.get(1))), count(row.get(2))?))
    });
    Ok(Tracked::loaded(loads.collect::<Result<Vec<_>, StoreError>>()?))
}

pub(super) async fn save_warehouses(
    connection: &mut PgConnection,
    warehouses: &Tracked<WarehouseId, Warehouse>,
) -> Result<(), StoreError> {
    let insert = "insert into warehouse (warehouse_id, regions, priority, capacity_per_day, assortment, promised_days,
                                         active, version, created_at, updated_at)
                  select *
                    from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::bigint[],
                                $7::integer[], $8::bigint[], $9::bigint[], $10::bigint[])";
    let update = "update warehouse w
                     set regions = r.regions, priority = r.priority, capacity_per_day = r.capacity_per_day,
                         assortment = r.assortment, promised_days = r.promised_days, active = r.active,
                         version = r.version, created_at = r.created_at, updated_at = r.updated_at
                    from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::bigint[],
                                $7::integer[], $8::bigint[], $9::bigint[], $10::bigint[])
                         r (warehouse_id, regions, priority, capacity_per_day, assortment, promised_days, active,
                            version, created_at, updated_at)
                   where w.warehouse_id = r.warehouse_id";
    let (new, changed) = (rows(warehouses.inserted()), rows(warehouses.updated()));
    for (doing, sql, rows) in [("adding warehouses", insert, new), ("changing warehouses", update, changed)] {
        if rows.is_empty() {
            continue;
        }
        sqlx::query(sql)
            .bind(column(&rows, |row| row.warehouse_id.as_str()))
            .bind(json(&rows, |row| &row.regions)?)
            .bind(column(&rows, |row| row.priority))
            .bind(column(&rows, |row| i64::from(row.capacity_per_day)))
            .bind(json(&rows, |row| &row.assortment)?)
            .bind(column(&rows, |row| i64::from(row.promised_days)))
            .bind(column(&rows, |row| i32::from(row.active)))
            .bind(column(&rows, |row| row.version))
            .bind(column(&rows, |row| row.created_at.as_micros()))
            .bind(column(&rows, |row| row.updated_at.as_micros()))
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database(doing))?;
    }
    Ok(())
}

/// The rows of a table that one statement writes, in key order.
fn rows<'a, K: 'a, V>(tracked: impl Iterator<Item = (&'a K, &'a V)>) -> Vec<&'a V> {
    tracked.map(|(_, row)| row).collect()
}

pub(super) async fn save_loads(
    connection: &mut PgConnection,
    loads: &Tracked<(WarehouseId, Day), u32>,
) -> Result<(), StoreError> {
    let insert = "insert into warehouse_load (warehouse_id, day, parcels)
                  select * from unnest($1::text[], $2::bigint[], $3::bigint[])";
    let update = "update warehouse_load l
                     set parcels = r.parcels
                    from unnest($1::text[], $2::bigint[], $3::bigint[]) r (warehouse_id, day, parcels)
                   where l.warehouse_id = r.warehouse_id and l.day = r.day";
    let (new, changed): (Vec<_>, Vec<_>) = (loads.inserted().collect(), loads.updated().collect());
    for (doing, sql, rows) in [("adding warehouse loads", insert, new), ("changing warehouse loads", update, changed)] {
        if rows.is_empty() {
            continue;
        }
        sqlx::query(sql)
            .bind(column(&rows, |((warehouse_id, _), _)| warehouse_id.as_str()))
            .bind(column(&rows, |((_, day), _)| day.0))
            .bind(column(&rows, |(_, parcels)| i64::from(**parcels)))
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database(doing))?;
    }
    Ok(())
}

pub(super) async fn save_plans(
    connection: &mut PgConnection,
    plans: &Tracked<OrderId, Plan>,
) -> Result<(), StoreError> {
    let new = rows(plans.inserted());
    if !new.is_empty() {
        let refusals = new.iter().map(|plan| plan.refusal.as_ref().map(serde_json::to_string).transpose());
        let refusals: Vec<Option<String>> = refusals.collect::<Result<_, _>>().map_err(StoreError::corrupt)?;
        sqlx::query(
            "insert into shipment_plan (order_id, fingerprint, state, parcels, explanation, refusal, cancel_reason,
                                        version, created_at, updated_at)
             select *
               from unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[],
                           $8::bigint[], $9::bigint[], $10::bigint[])",
        )
        .bind(column(&new, |plan| plan.order_id.uuid()))
        .bind(column(&new, |plan| plan.fingerprint.as_ref().map(Fingerprint::as_str)))
        .bind(column(&new, |plan| plan.state.as_str()))
        .bind(column(&new, |plan| i32::from(plan.parcels)))
        .bind(column(&new, |plan| plan.explanation.as_str()))
        .bind(refusals)
        .bind(column(&new, |plan| plan.cancel_reason.as_str()))
        .bind(column(&new, |plan| plan.version))
        .bind(column(&new, |plan| plan.created_at.as_micros()))
        .bind(column(&new, |plan| plan.updated_at.as_micros()))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("adding plans"))?;
    }
    let changed = rows(plans.updated());
    if !changed.is_empty() {
        sqlx::query(
            "update shipment_plan p
                set state = r.state, cancel_reason = r.cancel_reason, version = r.version, updated_at = r.updated_at
               from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
                    r (order_id, state, cancel_reason, version, updated_at)
              where p.order_id = r.order_id",
        )
        .bind(column(&changed, |plan| plan.order_id.uuid()))
        .bind(column(&changed, |plan| plan.state.as_str()))
        .bind(column(&changed, |plan| plan.cancel_reason.as_str()))
        .bind(column(&changed, |plan| plan.version))
        .bind(column(&changed, |plan| plan.updated_at.as_micros()))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("changing plans"))?;
    }
    Ok(())
}

pub(super) async fn save_shipments(
    connection: &mut PgConnection,
    shipments: &Tracked<ShipmentId, Shipment>,
) -> Result<(), StoreError> {
    let new = rows(shipments.inserted());
    if !new.is_empty() {
        sqlx::query(
            "insert into shipment (order_id, shipment_id, warehouse_id, lines, state, day, promised_at, tracking,
                                   version, created_at, updated_at)
             select *
               from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                           $8::text[], $9::bigint[], $10::bigint[], $11::bigint[])",
        )
        .bind(column(&new, |shipment| shipment.order_id.uuid()))
        .bind(column(&new, |shipment| shipment.shipment_id.uuid()))
        .bind(column(&new, |shipment| shipment.warehouse_id.as_str()))
        .bind(json(&new, |shipment| &shipment.lines)?)
        .bind(column(&new, |shipment| shipment.state.as_str()))
        .bind(column(&new, |shipment| shipment.day.0))
        .bind(column(&new, |shipment| shipment.promised_at.as_micros()))
        .bind(column(&new, |shipment| shipment.tracking.as_str()))
        .bind(column(&new, |shipment| shipment.version))
        .bind(column(&new, |shipment| shipment.created_at.as_micros()))
        .bind(column(&new, |shipment| shipment.updated_at.as_micros()))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("adding shipments"))?;
    }
    let changed = rows(shipments.updated());
    if !changed.is_empty() {
        sqlx::query(
            "update shipment s
                set state = r.state, tracking = r.tracking, version = r.version, updated_at = r.updated_at
               from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                    r (order_id, shipment_id, state, tracking, version, updated_at)
              where s.order_id = r.order_id and s.shipment_id = r.shipment_id",
        )
        .bind(column(&changed, |shipment| shipment.order_id.uuid()))
        .bind(column(&changed, |shipment| shipment.shipment_id.uuid()))
        .bind(column(&changed, |shipment| shipment.state.as_str()))
        .bind(column(&changed, |shipment| shipment.tracking.as_str()))
        .bind(column(&changed, |shipment| shipment.version))
        .bind(column(&changed, |shipment| shipment.updated_at.as_micros()))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("changing shipments"))?;
    }
    Ok(())
}

pub(super) async fn save_changes(connection: &mut PgConnection, changes: &[PlanChange]) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into plan_change (order_id, version, state, cause, detail, at)
         select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[])",
    )
    .bind(column(changes, |change| change.order_id.uuid()))
    .bind(column(changes, |change| change.version))
    .bind(column(changes, |change| change.state.as_str()))
    .bind(column(changes, |change| change.cause))
    .bind(column(changes, |change| change.detail.as_str()))
    .bind(column(changes, |change| change.at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing plan changes"))
}

pub(super) async fn save_reports(connection: &mut PgConnection, reports: &[CarrierReport]) -> Result<(), StoreError> {
    if reports.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into carrier_report (order_id, request_id, shipment_id, event, occurred_at, tracking, at)
         select *
           from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::bigint[])",
    )
    .bind(column(reports, |report| report.order_id.uuid()))
    .bind(column(reports, |report| report.request_id.uuid()))
    .bind(column(reports, |report| report.shipment_id.uuid()))
    .bind(column(reports, |report| report.event.as_str()))
    .bind(column(reports, |report| report.occurred_at.as_micros()))
    .bind(column(reports, |report| report.tracking.as_deref()))
    .bind(column(reports, |report| report.at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing carrier reports"))
}
