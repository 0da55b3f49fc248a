//! `UpdateWarehouse`: a warehouse changes in what is named, for plans to come.

use spillway_contracts::{
    convert::{self, required},
    fulfilment::v1::{UpdateWarehouseRequest, UpdateWarehouseResponse, Warehouse},
};
use spillway_types::{Fault, Violations, WarehouseId};

use super::{
    Api,
    convert::{assortment, promised_days, regions, warehouse},
    submit_warehouse,
};
use crate::domain::{Command, Once, command::UpdateWarehouse};

/// What can be changed, for people.
const CHANGEABLE: &str = "`regions`, `priority`, `capacity_per_day`, `assortment`, `promised_days`, `active`";

pub(super) async fn handle(api: &Api, request: UpdateWarehouseRequest) -> Result<UpdateWarehouseResponse, Fault> {
    let updated = submit_warehouse(api, parse(&request)?).await?;
    Ok(UpdateWarehouseResponse { warehouse: Some(warehouse(updated)) })
}

fn parse(request: &UpdateWarehouseRequest) -> Result<Command, Fault> {
    let mut wrong = Violations::default();
    let request_id = convert::request_id("request_id", &request.request_id, &mut wrong);
    let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        wrong.add("update_mask", format!("must name at least one of {CHANGEABLE}"));
    }
    let body = required("warehouse", request.warehouse.as_ref(), &mut wrong).and_then(|asked| {
        let warehouse_id = convert::warehouse_id("warehouse.warehouse_id", &asked.warehouse_id, &mut wrong)?;
        Some(changes(warehouse_id, asked, paths, &mut wrong))
    });
    let parsed = request_id.zip(body).map(|(request_id, body)| Once::new(request_id, body));
    wrong.finish(parsed).map(Command::UpdateWarehouse)
}

fn changes(warehouse_id: WarehouseId, asked: &Warehouse, paths: &[String], wrong: &mut Violations) -> UpdateWarehouse {
    let mut body = UpdateWarehouse {
        warehouse_id,
        regions: None,
        priority: None,
        capacity_per_day: None,
        assortment: None,
        promised_days: None,
        active: None,
    };
    for path in paths {
        match path.as_str() {
            "regions" => body.regions = regions(&asked.regions, wrong),
            "priority" => body.priority = Some(asked.priority),
            "capacity_per_day" => body.capacity_per_day = Some(asked.capacity_per_day),
            "assortment" => body.assortment = assortment(&asked.assortment, wrong),
            "promised_days" => body.promised_days = promised_days(asked.promised_days, wrong),
            "active" => body.active = Some(asked.active),
            other => wrong.add("update_mask", format!("{other:?} cannot be changed; {CHANGEABLE} can")),
        }
    }
    body
}
