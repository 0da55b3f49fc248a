//! `ListWarehouses`: the places that parcels leave from, a page at a time, by id.

use spillway_contracts::{
    fulfilment::v1::{ListWarehousesRequest, ListWarehousesResponse},
    page,
};
use spillway_types::{Fault, Violations, WarehouseId};

use super::{Api, convert::warehouse};

pub(super) async fn handle(api: &Api, request: ListWarehousesRequest) -> Result<ListWarehousesResponse, Fault> {
    let mut wrong = Violations::default();
    let size = page::page_size(request.page_size, &mut wrong);
    let after = page::decode::<WarehouseId>(&request.page_token, &mut wrong);
    let (size, after) = wrong.finish(size.zip(after))?;
    let found = api.reader.warehouses(after.as_ref(), size + 1).await?;
    let (warehouses, next_page_token) = page::cut(found, size, |last| last.warehouse_id.clone());
    Ok(ListWarehousesResponse { warehouses: warehouses.into_iter().map(warehouse).collect(), next_page_token })
}
