//! `CreateWarehouse`: a place that parcels leave from is opened.

use spillway_contracts::{
    convert::{self, required},
    fulfilment::v1::{CreateWarehouseRequest, CreateWarehouseResponse},
};
use spillway_types::{Fault, Violations};

use super::{
    Api,
    convert::{assortment, promised_days, regions, warehouse},
    submit_warehouse,
};
use crate::domain::{Command, Once, command::CreateWarehouse};

pub(super) async fn handle(api: &Api, request: CreateWarehouseRequest) -> Result<CreateWarehouseResponse, Fault> {
    let created = submit_warehouse(api, parse(&request)?).await?;
    Ok(CreateWarehouseResponse { warehouse: Some(warehouse(created)) })
}

fn parse(request: &CreateWarehouseRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let body = required("warehouse", request.warehouse.as_ref(), &mut wrong).and_then(|asked| {
        let warehouse_id = convert::warehouse_id("warehouse.warehouse_id", &asked.warehouse_id, &mut wrong);
        let regions = regions(&asked.regions, &mut wrong);
        let assortment = assortment(&asked.assortment, &mut wrong);
        let promised_days = promised_days(asked.promised_days, &mut wrong);
        Some(CreateWarehouse {
            warehouse_id: warehouse_id?,
            regions: regions?,
            priority: asked.priority,
            capacity_per_day: asked.capacity_per_day,
            assortment: assortment?,
            promised_days: promised_days?,
            active: asked.active,
        })
    });
    let parsed = request_id.zip(body).map(|(request_id, body)| Once::new(request_id, body));
    wrong.finish(parsed).map(Command::CreateWarehouse)
}
