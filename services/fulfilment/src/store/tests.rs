//! The store suite: what fulfilment promises, asked of every backend. Written once; each runs it.

mod replicas;
mod suite;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use spillway_storage::group_commit::Totals;
use spillway_testkit::servers;
use spillway_types::{BuyerId, ManualClock, Reason, RequestId, Sku, id::Partition};
use tempfile::TempDir;

use super::*;
use crate::domain::{
    CarrierEvent, PlanState, Planned,
    command::{CancelShipments, CreateWarehouse, PlanShipments, RecordCarrierEvent, UpdateWarehouse},
};

/// A database, empty at first, that a house can be opened on again and again.
struct Place {
    url: DatabaseUrl,
    resources: Resources,
    _directory: TempDir,
}

/// Fulfilment, opened: one replica of it.
struct House {
    database: Database,
    committer: Committer<Desk>,
    reader: Arc<dyn Reader>,
}

// === impl Place ===

impl Place {
    fn of(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_795_219_200_000_000)));
        let resources = Resources::in_directory(directory.path()).with_clock(clock);
        Self { url: url.parse().unwrap(), resources, _directory: directory }
    }

    async fn postgres() -> Self {
        Self::of(&servers::postgres().await.fresh("fulfilment").await)
    }

    /// One of every kind, told apart in the output of a test that fails.
    async fn each(fact: impl AsyncFn(&Self)) {
        for place in [Self::of("sqlite:"), Self::postgres().await] {
            println!("on {}", place.url);
            fact(&place).await;
        }
    }

    async fn house(&self) -> House {
        self.house_with_batches_of(64).await
    }

    async fn house_with_batches_of(&self, batch_max: usize) -> House {
        let limits = Limits { batch_max, queue_max: 1_024 };
        let (database, committer, reader) = open(&self.url, limits, &self.resources).await.unwrap();
        House { database, committer, reader }
    }

    /// With warehouse `a` for `TEE`, and `b` for `MUG`, which can send one parcel a day.
    async fn furnished(&self) -> House {
        let house = self.house().await;
        house.ask(create("a", "TEE", 0)).await.unwrap();
        house.ask(create("b", "MUG", 1)).await.unwrap();
        house
    }
}

// === impl House ===

impl House {
    async fn ask(&self, command: Command) -> Result<Answer, Fault> {
        self.committer.submit(command).await.unwrap()
    }

    async fn ask_plan(&self, command: Command) -> Result<Planned, Fault> {
        match self.ask(command).await? {
            Answer::Plan(planned) => Ok(planned),
            other => panic!("not a plan: {other:?}"),
        }
    }

    /// The answers of 32 callers who ask the same at once; they must all be equal.
    async fn ask_by_32(&self, command: &Command) -> Result<Answer, Fault> {
        let mut answers = join_all(std::iter::repeat_n(command, 32).map(|command| self.ask(command.clone()))).await;
        let last = answers.pop().unwrap();
        assert!(answers.iter().all(|answer| *answer == last), "{answers:?}");
        last
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let count = sqlx::AssertSqlSafe(format!("select cast(({sql}) as bigint)"));
        match &self.database {
            Database::Sqlite(file) => sqlx::query_scalar(count).fetch_one(file.readers()).await.unwrap(),
            Database::Postgres(server) => sqlx::query_scalar(count).fetch_one(server.readers()).await.unwrap(),
        }
    }

    async fn load(&self) -> i64 {
        self.count("select coalesce(sum(parcels), 0) from warehouse_load").await
    }

    /// What was published about an order, in order.
    async fn published(&self, order_id: OrderId) -> Vec<(i64, String)> {
        let sql = "select sequence, payload from outbox where key = $1 and topic = $2 order by sequence";
        let key = order_id.to_string();
        match &self.database {
            Database::Sqlite(file) => {
                sqlx::query_as(sql).bind(key).bind(TOPIC_SHIPMENTS).fetch_all(file.readers()).await
            }
            Database::Postgres(server) => {
                sqlx::query_as(sql).bind(key).bind(TOPIC_SHIPMENTS).fetch_all(server.readers()).await
            }
        }
        .unwrap()
    }

    fn totals(&self) -> Totals {
        self.committer.totals()
    }
}

fn order() -> OrderId {
    OrderId::mint(Timestamp::from_micros(1), &BuyerId::new("ada").unwrap(), Partition(0))
}

fn create(name: &str, sku: &str, capacity_per_day: u32) -> Command {
    let body = CreateWarehouse {
        warehouse_id: WarehouseId::new(name).unwrap(),
        regions: BTreeSet::from(["*".parse().unwrap()]),
        priority: 0,
        capacity_per_day,
        assortment: BTreeSet::from([Sku::new(sku).unwrap()]),
        promised_days: 2,
        active: true,
    };
    Command::CreateWarehouse(Once::new(RequestId::random(), body))
}

fn plan(order_id: OrderId, skus: &[&str]) -> Command {
    let lines = skus.iter().map(|name| (Sku::new(*name).unwrap(), 2)).collect();
    Command::Plan(PlanShipments::new(order_id, "DE".parse().unwrap(), lines))
}

fn cancel(order_id: OrderId) -> Command {
    Command::Cancel(CancelShipments { order_id, reason: "changed my mind".to_owned() })
}

fn record(order_id: OrderId, index: u16, event: CarrierEvent) -> Command {
    let body = RecordCarrierEvent {
        shipment_id: ShipmentId::of_order(order_id, index),
        event,
        occurred_at: None,
        tracking: Some("1Z999".to_owned()),
    };
    Command::Record(Once::new(RequestId::random(), body))
}
