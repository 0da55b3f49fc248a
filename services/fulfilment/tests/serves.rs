//! The service as others meet it: over gRPC, and through its events.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use spillway_contracts::{
    fulfilment::v1::{
        CancelShipmentsRequest, DispatchShipmentsRequest, ListWarehousesRequest, PlanShipmentsRequest, PlanState,
        fulfilment_service_client::FulfilmentServiceClient, warehouse_service_client::WarehouseServiceClient,
    },
    types::v1::Line,
};
use spillway_fulfilment::{Config, Service, store::TOPIC_SHIPMENTS};
use spillway_middleware::status::to_fault;
use spillway_runtime::{ServerConfig, policies};
use spillway_storage::{
    Resources,
    bus::{Bus, Consumer, Event, InProcessBus, NotTaken, letterbox::MemoryLetterbox},
    group_commit::Limits,
};
use spillway_types::{BuyerId, Clock, OrderId, Reason, RequestId, SystemClock, id::Partition};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// How long anything here may take; far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes down the states that it hears of.
#[derive(Default)]
struct Scribe(Mutex<Vec<(i64, String)>>);

impl Scribe {
    fn heard(&self) -> Vec<(i64, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait::async_trait]
impl Consumer for Scribe {
    fn name(&self) -> &'static str {
        "scribe"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC_SHIPMENTS]
    }

    async fn take(&self, events: Vec<Event>) -> Result<(), NotTaken> {
        let states = events.into_iter().map(|event| {
            let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap();
            assert_eq!(payload["order_id"], event.key.as_str());
            (event.sequence, payload["order_state"].as_str().unwrap().to_owned())
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(states);
        Ok(())
    }
}

fn key() -> String {
    RequestId::random().to_string()
}

fn order() -> String {
    OrderId::mint(SystemClock.now(), &BuyerId::new("ada").unwrap(), Partition(0)).to_string()
}

fn plan(order_id: &str) -> PlanShipmentsRequest {
    let lines = vec![Line { sku: "TEE".to_owned(), quantity: 1 }];
    PlanShipmentsRequest { request_id: key(), order_id: order_id.to_owned(), region: "DE".to_owned(), lines }
}

#[tokio::test]
async fn a_new_service_ships_from_its_default_warehouse_tells_of_it_and_stops_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
    let (bus, scribe) = (Arc::new(InProcessBus::default()), Arc::new(Scribe::default()));
    bus.subscribe(Arc::clone(&scribe) as Arc<dyn Consumer>, Arc::new(MemoryLetterbox::default()));
    let config = Config {
        listen: listener.local_addr().unwrap(),
        database: "sqlite:".parse().unwrap(),
        default_warehouse: true,
        write: Limits { batch_max: 64, queue_max: 1_024 },
    };
    // Opening twice finds the warehouse of the first time.
    let resources = Resources::in_directory(directory.path()).with_bus(bus);
    drop(Service::open(config.clone(), &resources).await.unwrap());
    let service = Service::open(config, &resources).await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { service.serve(&ServerConfig::default(), &policies(), listener, shutdown).await }
    });

    let mut warehouses = WarehouseServiceClient::new(channel.clone());
    let listed = warehouses.list_warehouses(ListWarehousesRequest::default()).await.unwrap().into_inner().warehouses;
    assert_eq!(listed.iter().map(|warehouse| warehouse.warehouse_id.as_str()).collect::<Vec<_>>(), ["main"]);

    let mut client = FulfilmentServiceClient::new(channel);
    let order_id = order();
    let planned = client.plan_shipments(plan(&order_id)).await.unwrap().into_inner().plan.unwrap();
    assert_eq!((planned.state(), planned.shipments.len()), (PlanState::Planned, 1));
    let dispatch = DispatchShipmentsRequest { request_id: key(), order_id: order_id.clone() };
    client.dispatch_shipments(dispatch).await.unwrap();

    let cancelled = order();
    let cancel = CancelShipmentsRequest { request_id: key(), order_id: cancelled.clone(), reason: String::new() };
    client.cancel_shipments(cancel).await.unwrap();
    let fault = to_fault(&client.plan_shipments(plan(&cancelled)).await.unwrap_err());
    assert_eq!(fault.reason, Reason::Cancelled);

    let said = [(1, "PLANNED".to_owned()), (2, "DISPATCHED".to_owned())];
    let heard = async {
        while scribe.heard() != said {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
}
