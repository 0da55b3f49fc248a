//! Fulfilment in Postgres, where replicas share it: rows are locked before they are judged, in the order that the
//! migration names.

use std::collections::BTreeSet;

use async_trait::async_trait;
use spillway_storage::{
    Session, Store, StoreError, Tracked,
    database::Step,
    postgres::{Database, PgSession, column, idempotency, outbox},
};
use spillway_types::{OrderId, ShipmentId, WarehouseId};
use sqlx::{PgConnection, PgPool};

use self::rows::{PLAN_COLUMNS, SHIPMENT_COLUMNS, WAREHOUSE_COLUMNS};
use super::{Desk, Reader, Rows, ShipmentFilter, wanted::Wanted};
use crate::domain::{Command, Day, Plan, Shipment, ShipmentState, Warehouse};

mod rows;

/// The service's own schema.
pub(super) const STEPS: &[Step] =
    &[Step { version: 2, name: "fulfilment", sql: include_str!("../../migrations/postgres/0002_fulfilment.sql") }];

/// The write end.
#[derive(Debug)]
pub(super) struct PgStore {
    session: PgSession,
}

/// The read end.
#[derive(Clone, Debug)]
pub(super) struct PgReader {
    database: Database,
}

// === impl PgStore ===

impl PgStore {
    /// A write end of its own.
    pub(super) fn new(database: &Database) -> Self {
        Self { session: database.session() }
    }
}

#[async_trait]
impl Store<Desk> for PgStore {
    type Session = PgSession;

    fn session(&mut self) -> &mut PgSession {
        &mut self.session
    }

    async fn load(&mut self, commands: &[Command]) -> Result<Rows, StoreError> {
        let Wanted { mut orders, parcels, warehouses, plans: has_plans, records } = Wanted::by(commands);
        let connection = self.session.connection()?;
        orders.extend(orders_of(connection, &parcels).await?);
        let mut warehouses = some_warehouses(connection, &warehouses).await?;
        let plans = plans_of(connection, &orders).await?;
        let shipments = shipments_of(connection, &plans).await?;
        // A new parcel takes of today's capacity, a cancelled one gives back that of its own day.
        let mut loads: BTreeSet<(WarehouseId, Day)> =
            shipments.iter().map(|shipment| (shipment.warehouse_id.clone(), shipment.day)).collect();
        if has_plans {
            // Behind the locks above, so that those which this batch changes are among them as they are now. The rest is
            // read as it stands: a change that comes meanwhile counts as coming after the plan.
            warehouses = every_warehouse(connection).await?;
            let today = Day::of(self.session.now().await?);
            loads.extend(warehouses.iter().map(|warehouse| (warehouse.warehouse_id.clone(), today)));
        }
        let connection = self.session.connection()?;
        Ok(Rows {
            loads: rows::loads(connection, &loads).await?,
            plans,
            warehouses: Tracked::loaded(warehouses.into_iter().map(|row| (row.warehouse_id.clone(), row))),
            shipments: Tracked::loaded(shipments.into_iter().map(|row| (row.shipment_id, row))),
            // Behind the locks, too: a record that another replica has just written is seen.
            records: idempotency::load(connection, records).await?,
            ..Rows::default()
        })
    }

    async fn save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let connection = self.session.connection()?;
        rows::save_warehouses(connection, &rows.warehouses).await?;
        rows::save_plans(connection, &rows.plans).await?;
        rows::save_shipments(connection, &rows.shipments).await?;
        rows::save_changes(connection, &rows.changes).await?;
        rows::save_reports(connection, &rows.reports).await?;
        rows::save_loads(connection, &rows.loads).await?;
        idempotency::save(connection, &rows.records).await?;
        outbox::save(connection, &rows.events).await
    }
}

/// Whose these parcels are, which never changes.
async fn orders_of(connection: &mut PgConnection, parcels: &BTreeSet<ShipmentId>) -> Result<Vec<OrderId>, StoreError> {
    if parcels.is_empty() {
        return Ok(Vec::new());
    }
    let orders = sqlx::query_scalar("select distinct order_id from shipment where shipment_id = any($1)")
        .bind(column(parcels, |id| id.uuid()))
        .fetch_all(connection)
        .await
        .map_err(StoreError::database("reading whose shipments these are"))?;
    Ok(orders.into_iter().map(OrderId::new).collect())
}

async fn every_warehouse(connection: &mut PgConnection) -> Result<Vec<Warehouse>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("select {WAREHOUSE_COLUMNS} from warehouse")))
        .fetch_all(connection)
        .await
        .map_err(StoreError::database("reading all warehouses"))?;
    rows.iter().map(rows::warehouse).collect()
}

async fn some_warehouses(
    connection: &mut PgConnection,
    ids: &BTreeSet<WarehouseId>,
) -> Result<Vec<Warehouse>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {WAREHOUSE_COLUMNS} from warehouse where warehouse_id = any($1) order by warehouse_id for update"
    )))
    .bind(column(ids, WarehouseId::as_str))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading warehouses"))?;
    rows.iter().map(rows::warehouse).collect()
}

async fn plans_of(
    connection: &mut PgConnection,
    orders: &BTreeSet<OrderId>,
) -> Result<Tracked<OrderId, Plan>, StoreError> {
    if orders.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {PLAN_COLUMNS} from shipment_plan where order_id = any($1) order by order_id for update"
    )))
    .bind(column(orders, |id| id.uuid()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading plans"))?;
    let plans = rows.iter().map(|row| rows::plan(row).map(|plan| (plan.order_id, plan)));
    Ok(Tracked::loaded(plans.collect::<Result<Vec<_>, _>>()?))
}

/// The parcels of plans that are locked, which locks the parcels as well. Those of a plan that was not there when it was
/// looked for are left out: they belong to a later moment.
async fn shipments_of(
    connection: &mut PgConnection,
    plans: &Tracked<OrderId, Plan>,
) -> Result<Vec<Shipment>, StoreError> {
    let with_parcels: Vec<_> = plans.iter().filter(|(_, plan)| plan.parcels > 0).map(|(id, _)| id.uuid()).collect();
    if with_parcels.is_empty() {
        return Ok(Vec::new());
    }
    let sql = sqlx::AssertSqlSafe(format!("select {SHIPMENT_COLUMNS} from shipment where order_id = any($1)"));
    let rows = sqlx::query(sql).bind(with_parcels).fetch_all(connection).await;
    rows.map_err(StoreError::database("reading shipments"))?.iter().map(rows::shipment).collect()
}

// === impl PgReader ===

impl PgReader {
    /// A read end, on the database's pool.
    pub(super) const fn new(database: Database) -> Self {
        Self { database }
    }

    fn pool(&self) -> &PgPool {
        self.database.readers()
    }
}

#[async_trait]
impl Reader for PgReader {
    async fn shipment(&self, id: ShipmentId) -> Result<Option<Shipment>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("select {SHIPMENT_COLUMNS} from shipment where shipment_id = $1"));
        let row = sqlx::query(sql).bind(id.uuid()).fetch_optional(self.pool()).await;
        row.map_err(StoreError::database("reading a shipment"))?.as_ref().map(rows::shipment).transpose()
    }

    async fn shipments(
        &self,
        filter: &ShipmentFilter,
        after: Option<ShipmentId>,
        limit: u32,
    ) -> Result<Vec<Shipment>, StoreError> {
        // Written apart rather than as `$2 is null or ..`, so that the primary key serves the one and the index the other.
        let scope = if filter.order_id.is_some() { "order_id = $2" } else { "$2::uuid is null" };
        let states = filter.states.as_ref().map(|states| column(states, |state| ShipmentState::as_str(*state)));
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {SHIPMENT_COLUMNS} from shipment
              where {scope} and shipment_id > $1 and ($3::text[] is null or state = any($3))
              order by shipment_id limit $4"
        )))
        .bind(after.map(ShipmentId::uuid).unwrap_or_default())
        .bind(filter.order_id.map(OrderId::uuid))
        .bind(states)
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::database("listing shipments"))?;
        rows.iter().map(rows::shipment).collect()
    }

    async fn warehouses(&self, after: Option<&WarehouseId>, limit: u32) -> Result<Vec<Warehouse>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {WAREHOUSE_COLUMNS} from warehouse where warehouse_id > $1 order by warehouse_id limit $2"
        )))
        .bind(after.map_or("", WarehouseId::as_str))
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::database("listing warehouses"))?;
        rows.iter().map(rows::warehouse).collect()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }
}
