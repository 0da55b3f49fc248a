//! Fulfilment: parcels planned, and given up.

use async_trait::async_trait;
use spillway_contracts::{
    fulfilment::v1::{
        CancelShipmentsRequest, CarrierEventKind, CreateWarehouseRequest, DispatchShipmentsRequest,
        PlanShipmentsRequest, RecordCarrierEventRequest, ShipmentPlan, Warehouse,
    },
    types::v1::Line,
};
use spillway_types::{Fault, OrderId, Reason, RequestId};

use super::{Answer, Books, Participant, States, Wording, opened};
use crate::shop::Shop;

#[derive(Debug)]
pub(super) struct Fulfilment;

#[async_trait]
impl Participant for Fulfilment {
    fn name(&self) -> &'static str {
        "fulfilment"
    }

    fn states(&self) -> States {
        States { done: "PLAN_STATE_PLANNED", undone: "PLAN_STATE_CANCELLED", past_pivot: "PLAN_STATE_HANDED_OVER" }
    }

    fn refusal(&self) -> Reason {
        Reason::Unshippable
    }

    fn books(&self) -> Books {
        Books {
            file: "fulfilment.db",
            rows: "select order_id, version from shipment_plan",
            topic: "fulfilment.shipments",
            audit: "plan_change",
            unaccounted: "
                select order_id || ' is ' || state || ' in version ' || version from shipment_plan p
                 where version <> (select count(*) from plan_change c where c.order_id = p.order_id)
                    or parcels <> (select count(*) from shipment s where s.order_id = p.order_id)
                union all
                select warehouse_id || ' has ' || parcels || ' to send' from warehouse_load l
                 where parcels <> (select count(*) from shipment s
                                    where s.warehouse_id = l.warehouse_id and s.day = l.day
                                      and state <> 'CANCELLED')",
            held: "select coalesce(sum(parcels), 0) from warehouse_load",
        }
    }

    async fn prepare(&self, shop: &Shop) {
        open_warehouse(shop, "main", "EU").await.unwrap();
    }

    async fn forward(&self, shop: &Shop, order_id: OrderId, wording: Wording) -> Result<Answer, Fault> {
        let quantity = match wording {
            Wording::Usual => 1,
            Wording::Other => 2,
        };
        answer(&plan(shop, order_id, "EU", quantity).await?)
    }

    async fn compensate(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        let request = CancelShipmentsRequest {
            request_id: order_id.to_string(),
            order_id: order_id.to_string(),
            reason: "turned back".to_owned(),
        };
        let found = opened(shop.fulfilment.clone().cancel_shipments(request).await)?;
        answer(&found.plan.ok_or_else(Fault::internal)?)
    }

    async fn past_pivot(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        let planned = plan(shop, order_id, "EU", 1).await?;
        let request = DispatchShipmentsRequest { request_id: order_id.to_string(), order_id: order_id.to_string() };
        opened(shop.fulfilment.clone().dispatch_shipments(request).await)?;
        for shipment in planned.shipments {
            let request = RecordCarrierEventRequest {
                request_id: RequestId::random().to_string(),
                shipment_id: shipment.shipment_id,
                kind: CarrierEventKind::PickedUp.into(),
                ..RecordCarrierEventRequest::default()
            };
            opened(shop.fulfilment.clone().record_carrier_event(request).await)?;
        }
        self.forward(shop, order_id, Wording::Usual).await
    }

    async fn refuse(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        answer(&plan(shop, order_id, "US", 1).await?)
    }

    async fn relent(&self, shop: &Shop, other: OrderId) -> Result<Answer, Fault> {
        open_warehouse(shop, "west", "US").await?;
        self.refuse(shop, other).await
    }
}

async fn plan(shop: &Shop, order_id: OrderId, region: &str, quantity: u32) -> Result<ShipmentPlan, Fault> {
    let request = PlanShipmentsRequest {
        request_id: order_id.to_string(),
        order_id: order_id.to_string(),
        region: region.to_owned(),
        lines: vec![Line { sku: "TEE".to_owned(), quantity }],
    };
    let planned = opened(shop.fulfilment.clone().plan_shipments(request).await)?;
    planned.plan.ok_or_else(Fault::internal)
}

async fn open_warehouse(shop: &Shop, name: &str, region: &str) -> Result<(), Fault> {
    let warehouse = Warehouse {
        warehouse_id: name.to_owned(),
        regions: vec![region.to_owned()],
        promised_days: 2,
        active: true,
        ..Warehouse::default()
    };
    let request = CreateWarehouseRequest { request_id: RequestId::random().to_string(), warehouse: Some(warehouse) };
    opened(shop.warehouses.clone().create_warehouse(request).await).map(drop)
}

fn answer(plan: &ShipmentPlan) -> Result<Answer, Fault> {
    Ok(Answer::new(plan.state().as_str_name(), plan))
}
