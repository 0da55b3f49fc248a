//! What callers see: messages in, messages or faults out, over a real file.

use std::path::Path;

use spillway_contracts::{
    fulfilment::v1::{self as pb, CarrierEventKind},
    types::v1::Line,
};
use spillway_middleware::status::to_fault;
use spillway_storage::{Resources, group_commit::Limits};
use spillway_types::{BuyerId, OrderId, Reason, RequestId, Timestamp, id::Partition};

use super::*;
use crate::store;

async fn api(directory: &Path) -> Api {
    let limits = Limits { batch_max: 64, queue_max: 1_024 };
    let resources = Resources::in_directory(directory);
    let (_, committer, reader) = store::open(&"sqlite:".parse().unwrap(), limits, &resources).await.unwrap();
    Api { committer, reader }
}

fn key() -> String {
    RequestId::random().to_string()
}

fn order() -> String {
    OrderId::mint(Timestamp::from_micros(1), &BuyerId::new("ada").unwrap(), Partition(0)).to_string()
}

fn warehouse(name: &str) -> pb::Warehouse {
    pb::Warehouse {
        warehouse_id: name.to_owned(),
        regions: vec!["EU".to_owned()],
        promised_days: 2,
        active: true,
        ..pb::Warehouse::default()
    }
}

fn plan(order_id: &str, region: &str) -> PlanShipmentsRequest {
    PlanShipmentsRequest {
        request_id: key(),
        order_id: order_id.to_owned(),
        region: region.to_owned(),
        lines: vec![Line { sku: "TEE".to_owned(), quantity: 2 }],
    }
}

async fn created(api: &Api, name: &str) -> pb::Warehouse {
    let request = CreateWarehouseRequest { request_id: key(), warehouse: Some(warehouse(name)) };
    api.create_warehouse(Request::new(request)).await.unwrap().into_inner().warehouse.unwrap()
}

fn wrong_fields<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    let fault = to_fault(&answer.unwrap_err());
    assert_eq!(fault.reason, Reason::InvalidRequest);
    fault.fields.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn an_order_leaves_the_house_as_its_messages_say() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path()).await;
    created(&api, "main").await;
    let order_id = order();
    let planned = api.plan_shipments(Request::new(plan(&order_id, "DE"))).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(
        (planned.state(), planned.explanation.as_str()),
        (pb::PlanState::Planned, "one parcel: main has everything")
    );

    let dispatch = DispatchShipmentsRequest { request_id: key(), order_id: order_id.clone() };
    let dispatched = api.dispatch_shipments(Request::new(dispatch)).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(dispatched.state(), pb::PlanState::Dispatched);
    let report = RecordCarrierEventRequest {
        request_id: key(),
        shipment_id: planned.shipments[0].shipment_id.clone(),
        kind: CarrierEventKind::Delivered.into(),
        occur_time: None,
        tracking: "1Z999".to_owned(),
    };
    let delivered = api.record_carrier_event(Request::new(report)).await.unwrap().into_inner().shipment.unwrap();
    assert_eq!((delivered.state(), delivered.tracking.as_str()), (pb::ShipmentState::Delivered, "1Z999"));

    let cancel = CancelShipmentsRequest { request_id: key(), order_id: order_id.clone(), reason: String::new() };
    let found = api.cancel_shipments(Request::new(cancel)).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(found.state(), pb::PlanState::HandedOver, "too late");
    let get = GetShipmentRequest { shipment_id: delivered.shipment_id.clone() };
    let read = api.get_shipment(Request::new(get)).await.unwrap().into_inner().shipment.unwrap();
    let list = ListShipmentsRequest { order_id, ..ListShipmentsRequest::default() };
    let listed = api.list_shipments(Request::new(list)).await.unwrap().into_inner();
    assert_eq!((vec![read], String::new()), (listed.shipments, listed.next_page_token));
}

#[tokio::test]
async fn refusals_carry_their_reason_and_every_line() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path()).await;
    let fault = to_fault(&api.plan_shipments(Request::new(plan(&order(), "DE"))).await.unwrap_err());
    assert_eq!(fault.reason, Reason::Unshippable);
    assert!(fault.message.contains("CreateWarehouse"), "{}", fault.message);

    created(&api, "main").await;
    let fault = to_fault(&api.plan_shipments(Request::new(plan(&order(), "US"))).await.unwrap_err());
    assert_eq!((fault.reason, fault.preconditions[0].subject.as_str()), (Reason::Unshippable, "TEE"));
    let dispatch = DispatchShipmentsRequest { request_id: key(), order_id: order() };
    let fault = to_fault(&api.dispatch_shipments(Request::new(dispatch)).await.unwrap_err());
    assert_eq!(fault.reason, Reason::NotFound);
}

#[tokio::test]
async fn a_malformed_request_hears_of_every_field_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path()).await;
    let bad = PlanShipmentsRequest {
        lines: vec![Line { sku: "a b".to_owned(), quantity: 0 }],
        region: "Germany".to_owned(),
        ..PlanShipmentsRequest::default()
    };
    assert_eq!(
        wrong_fields(api.plan_shipments(Request::new(bad)).await),
        ["request_id", "order_id", "region", "lines[0].sku", "lines[0].quantity"]
    );
    let bad = pb::Warehouse { regions: vec!["eu".to_owned()], promised_days: 1_000, ..warehouse("") };
    let bad = CreateWarehouseRequest { request_id: String::new(), warehouse: Some(bad) };
    assert_eq!(
        wrong_fields(api.create_warehouse(Request::new(bad)).await),
        ["request_id", "warehouse.warehouse_id", "warehouse.regions[0]", "warehouse.promised_days"]
    );
    let bad = RecordCarrierEventRequest { tracking: "1".repeat(129), ..RecordCarrierEventRequest::default() };
    assert_eq!(
        wrong_fields(api.record_carrier_event(Request::new(bad)).await),
        ["request_id", "shipment_id", "kind", "tracking"]
    );
    let bad =
        ListShipmentsRequest { states: vec![0, 99], page_size: -1, page_token: "?".to_owned(), ..Default::default() };
    assert_eq!(
        wrong_fields(api.list_shipments(Request::new(bad)).await),
        ["states[0]", "states[1]", "page_size", "page_token"]
    );
}

#[tokio::test]
async fn a_warehouse_changes_by_its_mask_and_lists_come_in_pages() {
    let directory = tempfile::tempdir().unwrap();
    let api = api(directory.path()).await;
    for name in ["a", "b", "c"] {
        created(&api, name).await;
    }
    let change = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Request::new(UpdateWarehouseRequest {
            request_id: key(),
            warehouse: Some(pb::Warehouse { priority: 5, active: false, ..warehouse("b") }),
            update_mask: Some(prost_types::FieldMask { paths }),
        })
    };
    let changed = api.update_warehouse(change(&["priority"])).await.unwrap().into_inner().warehouse.unwrap();
    assert_eq!((changed.priority, changed.active, changed.version), (5, true, 2));
    assert_eq!(wrong_fields(api.update_warehouse(change(&["version"])).await), ["update_mask"]);
    assert_eq!(wrong_fields(api.update_warehouse(change(&[])).await), ["update_mask"]);

    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = ListWarehousesRequest { page_size: 2, page_token };
        let page = api.list_warehouses(Request::new(list)).await.unwrap().into_inner();
        names.extend(page.warehouses.into_iter().map(|warehouse| warehouse.warehouse_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
}
