//! Rows of fulfilment's tables, to and from the domain.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use spillway_storage::{StoreError, Tracked};
use spillway_types::{Fingerprint, OrderId, ShipmentId, Timestamp, WarehouseId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{json, write};
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

pub(super) fn warehouse(row: &SqliteRow) -> Result<Warehouse, StoreError> {
    Ok(Warehouse {
        warehouse_id: WarehouseId::new(row.get::<String, _>(0)).map_err(StoreError::corrupt)?,
        regions: from_json(row.get(1))?,
        priority: row.get(2),
        capacity_per_day: row.get(3),
        assortment: from_json(row.get(4))?,
        promised_days: row.get(5),
        active: row.get(6),
        version: row.get(7),
        created_at: Timestamp::from_micros(row.get(8)),
        updated_at: Timestamp::from_micros(row.get(9)),
    })
}

pub(super) fn plan(row: &SqliteRow) -> Result<Plan, StoreError> {
    let state: &str = row.get(2);
    let refusal: Option<&str> = row.get(5);
    Ok(Plan {
        order_id: row.get::<&str, _>(0).parse().map_err(StoreError::corrupt)?,
        fingerprint: row.get::<Option<String>, _>(1).map(Fingerprint::stored),
        state: PlanState::from_stored(state).ok_or_else(|| StoreError::corrupt(format!("plan state {state:?}")))?,
        parcels: row.get(3),
        explanation: row.get(4),
        refusal: refusal.map(from_json).transpose()?,
        cancel_reason: row.get(6),
        version: row.get(7),
        created_at: Timestamp::from_micros(row.get(8)),
        updated_at: Timestamp::from_micros(row.get(9)),
    })
}

pub(super) fn shipment(row: &SqliteRow) -> Result<Shipment, StoreError> {
    let state: &str = row.get(4);
    let known = ShipmentState::from_stored(state);
    Ok(Shipment {
        order_id: row.get::<&str, _>(0).parse().map_err(StoreError::corrupt)?,
        shipment_id: row.get::<&str, _>(1).parse().map_err(StoreError::corrupt)?,
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

pub(super) async fn loads(
    connection: &mut SqliteConnection,
    keys: &BTreeSet<(WarehouseId, Day)>,
) -> Result<Tracked<(WarehouseId, Day), u32>, StoreError> {
    if keys.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(
        "select l.warehouse_id, l.day, l.parcels
           from json_each(?1) k
           join warehouse_load l on l.warehouse_id = k.value ->> 0 and l.day = k.value ->> 1",
    )
    .bind(json(keys)?)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading warehouse loads"))?;
    let loads = rows.iter().map(|row| {
        let id = WarehouseId::new(row.get::<String, _>(0)).map_err(StoreError::corrupt)?;
        Ok(((id, Day(row.get(1))), row.get(2)))
    });
    Ok(Tracked::loaded(loads.collect::<Result<Vec<_>, StoreError>>()?))
}

pub(super) async fn save_warehouses(
    connection: &mut SqliteConnection,
    warehouses: &Tracked<WarehouseId, Warehouse>,
) -> Result<(), StoreError> {
    let row = |warehouse: &Warehouse| {
        serde_json::json!([
            warehouse.warehouse_id,
            warehouse.regions,
            warehouse.priority,
            warehouse.capacity_per_day,
            warehouse.assortment,
            warehouse.promised_days,
            warehouse.active,
            warehouse.version,
            warehouse.created_at,
            warehouse.updated_at,
        ])
    };
    let insert = "insert into warehouse (warehouse_id, regions, priority, capacity_per_day, assortment, promised_days,
                                         active, version, created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8, value ->> 9
                    from json_each(?1)";
    write(connection, "adding warehouses", insert, warehouses.inserted().map(|(_, warehouse)| row(warehouse))).await?;
    let update = "update warehouse
                     set regions = r.value ->> 1, priority = r.value ->> 2, capacity_per_day = r.value ->> 3,
                         assortment = r.value ->> 4, promised_days = r.value ->> 5, active = r.value ->> 6,
                         version = r.value ->> 7, updated_at = r.value ->> 9
                    from json_each(?1) r
                   where warehouse.warehouse_id = r.value ->> 0";
    write(connection, "changing warehouses", update, warehouses.updated().map(|(_, warehouse)| row(warehouse))).await
}

pub(super) async fn save_loads(
    connection: &mut SqliteConnection,
    loads: &Tracked<(WarehouseId, Day), u32>,
) -> Result<(), StoreError> {
    let insert = "insert into warehouse_load (warehouse_id, day, parcels)
                  select value ->> 0, value ->> 1, value ->> 2 from json_each(?1)";
    let rows = loads.inserted().map(|((warehouse_id, day), parcels)| (warehouse_id, day, parcels));
    write(connection, "adding warehouse loads", insert, rows).await?;
    let update = "update warehouse_load
                     set parcels = r.value ->> 2
                    from json_each(?1) r
                   where warehouse_load.warehouse_id = r.value ->> 0 and warehouse_load.day = r.value ->> 1";
    let rows = loads.updated().map(|((warehouse_id, day), parcels)| (warehouse_id, day, parcels));
    write(connection, "changing warehouse loads", update, rows).await
}

pub(super) async fn save_plans(
    connection: &mut SqliteConnection,
    plans: &Tracked<OrderId, Plan>,
) -> Result<(), StoreError> {
    let insert = "insert into shipment_plan (order_id, fingerprint, state, parcels, explanation, refusal,
                                             cancel_reason, version, created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8, value ->> 9
                    from json_each(?1)";
    let rows = plans.inserted().map(|(order_id, plan)| {
        let Plan { fingerprint, state, parcels, explanation, refusal, cancel_reason, .. } = plan;
        let (version, created_at, updated_at) = (plan.version, plan.created_at, plan.updated_at);
        (order_id, fingerprint, state, parcels, explanation, refusal, cancel_reason, version, created_at, updated_at)
    });
    write(connection, "adding plans", insert, rows).await?;
    let update = "update shipment_plan
                     set state = r.value ->> 1, cancel_reason = r.value ->> 2, version = r.value ->> 3,
                         updated_at = r.value ->> 4
                    from json_each(?1) r
                   where shipment_plan.order_id = r.value ->> 0";
    let rows = plans
        .updated()
        .map(|(order_id, plan)| (order_id, plan.state, &plan.cancel_reason, plan.version, plan.updated_at));
    write(connection, "changing plans", update, rows).await
}

pub(super) async fn save_shipments(
    connection: &mut SqliteConnection,
    shipments: &Tracked<ShipmentId, Shipment>,
) -> Result<(), StoreError> {
    let insert = "insert into shipment (order_id, shipment_id, warehouse_id, lines, state, day, promised_at, tracking,
                                        version, created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8, value ->> 9, value ->> 10
                    from json_each(?1)";
    let rows = shipments.inserted().map(|(id, shipment)| {
        let Shipment { order_id, warehouse_id, lines, state, day, promised_at, tracking, .. } = shipment;
        let (version, created_at, updated_at) = (shipment.version, shipment.created_at, shipment.updated_at);
        (order_id, id, warehouse_id, lines, state, day, promised_at, tracking, version, created_at, updated_at)
    });
    write(connection, "adding shipments", insert, rows).await?;
    let update = "update shipment
                     set state = r.value ->> 2, tracking = r.value ->> 3, version = r.value ->> 4,
                         updated_at = r.value ->> 5
                    from json_each(?1) r
                   where shipment.order_id = r.value ->> 0 and shipment.shipment_id = r.value ->> 1";
    let rows = shipments.updated().map(|(id, shipment)| {
        let Shipment { order_id, state, tracking, version, updated_at, .. } = shipment;
        (order_id, id, state, tracking, version, updated_at)
    });
    write(connection, "changing shipments", update, rows).await
}

pub(super) async fn save_changes(connection: &mut SqliteConnection, changes: &[PlanChange]) -> Result<(), StoreError> {
    let insert = "insert into plan_change (order_id, version, state, cause, detail, at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
                    from json_each(?1)";
    let rows = changes.iter().map(|change| {
        let PlanChange { order_id, version, state, cause, detail, at } = change;
        (order_id, version, state, cause, detail, at)
    });
    write(connection, "writing plan changes", insert, rows).await
}

pub(super) async fn save_reports(
    connection: &mut SqliteConnection,
    reports: &[CarrierReport],
) -> Result<(), StoreError> {
    let insert = "insert into carrier_report (order_id, request_id, shipment_id, event, occurred_at, tracking, at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
                    from json_each(?1)";
    let rows = reports.iter().map(|report| {
        let CarrierReport { order_id, shipment_id, request_id, event, occurred_at, tracking, at } = report;
        (order_id, request_id, shipment_id, event.as_str(), occurred_at, tracking, at)
    });
    write(connection, "writing carrier reports", insert, rows).await
}
