//! `spillway warehouse` and `spillway shipment`: where parcels leave from, and where they are.

use clap::{Args, Subcommand};
use spillway_contracts::fulfilment::v1::{
    CarrierEventKind, ListShipmentsRequest, ListShipmentsResponse, ListWarehousesRequest, ListWarehousesResponse,
    RecordCarrierEventRequest, Shipment, Warehouse,
};

use super::{Context, Key, Limit};
use crate::{
    cli::values,
    client::pages,
    output::{
        Failure,
        table::Table,
        words::{some, time, word},
    },
};

/// The commands about warehouses.
#[derive(Debug, Subcommand)]
pub(crate) enum WarehouseCommand {
    /// List warehouses, by id
    List(Limit),
}

/// The commands about shipments.
#[derive(Debug, Subcommand)]
pub(crate) enum ShipmentCommand {
    /// List the shipments of an order
    List(List),
    /// Report what a carrier did with a shipment
    Report(Report),
}

/// Options of `shipment list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Which order, by its id
    #[arg(value_name = "ORDER")]
    order: String,
    #[command(flatten)]
    limit: Limit,
}

/// Options of `shipment report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Which shipment, by its id
    #[arg(value_name = "SHIPMENT")]
    shipment: String,
    /// What happened: `picked-up`, `in-transit`, `delivered`, `lost`, `returned`
    #[arg(value_name = "EVENT", value_parser = values::carrier_event)]
    event: CarrierEventKind,
    /// The carrier's number for it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    tracking: String,
    #[command(flatten)]
    key: Key,
}

/// Does it.
pub(crate) async fn warehouses(command: WarehouseCommand, context: &Context) -> Result<(), Failure> {
    let WarehouseCommand::List(limit) = command;
    let mut peer = context.platform.warehouses()?;
    let (warehouses, next_page_token) = pages(limit.limit, async |page_size, page_token| {
        let request = peer.ask(ListWarehousesRequest { page_size, page_token });
        let listed = peer.client.list_warehouses(request).await;
        let page = peer.answer("the warehouses cannot be listed", listed)?;
        Ok((page.warehouses, page.next_page_token))
    })
    .await?;
    let answer = ListWarehousesResponse { warehouses, next_page_token };
    context.output.answer(&answer, |answer| {
        let headings = ["WAREHOUSE", "ACTIVE", ">PRIORITY", ">A DAY", ">DAYS", "SENDS TO", "KEEPS"];
        let table = Table::new(headings).rows(answer.warehouses.iter().map(warehouse));
        limit.and_more(table.or("No warehouses: nothing can be shipped."), &answer.next_page_token)
    })
}

fn warehouse(warehouse: &Warehouse) -> [String; 7] {
    let or = |text: String, nothing: &str| if text.is_empty() { nothing.to_owned() } else { text };
    let capacity = if warehouse.capacity_per_day == 0 { String::new() } else { warehouse.capacity_per_day.to_string() };
    [
        warehouse.warehouse_id.clone(),
        if warehouse.active { "yes" } else { "no" }.to_owned(),
        warehouse.priority.to_string(),
        or(capacity, "no limit"),
        warehouse.promised_days.to_string(),
        or(warehouse.regions.join(" "), "nowhere"),
        or(warehouse.assortment.join(" "), "everything"),
    ]
}

/// Does it.
pub(crate) async fn shipments(command: ShipmentCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ShipmentCommand::List(list) => list.run(context).await,
        ShipmentCommand::Report(report) => report.run(context).await,
    }
}

fn table(shipments: &[Shipment]) -> Table<6> {
    let rows = shipments.iter().map(|shipment| {
        let lines: Vec<_> = shipment.lines.iter().map(|line| format!("{}={}", line.sku, line.quantity)).collect();
        [
            shipment.shipment_id.clone(),
            word(shipment.state().as_str_name(), "SHIPMENT_STATE_"),
            shipment.warehouse_id.clone(),
            some(&shipment.tracking),
            time(shipment.promised_time),
            lines.join(" "),
        ]
    });
    Table::new(["SHIPMENT", "STATE", "FROM", "TRACKING", "PROMISED FOR", "LINES"]).rows(rows)
}

// === impl List ===

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { order, limit } = self;
        let mut peer = context.platform.fulfilment()?;
        let (shipments, next_page_token) = pages(limit.limit, async |page_size, page_token| {
            let request = ListShipmentsRequest { order_id: order.clone(), states: Vec::new(), page_size, page_token };
            let request = peer.ask(request);
            let listed = peer.client.list_shipments(request).await;
            let page = peer.answer("the shipments cannot be listed", listed)?;
            Ok((page.shipments, page.next_page_token))
        })
        .await?;
        let answer = ListShipmentsResponse { shipments, next_page_token };
        context.output.answer(&answer, |answer| {
            limit.and_more(table(&answer.shipments).or("No shipments."), &answer.next_page_token)
        })
    }
}

// === impl Report ===

impl Report {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { shipment, event, tracking, key } = self;
        let request_id = key.get();
        let mut peer = context.platform.fulfilment()?;
        let request = peer.ask(RecordCarrierEventRequest {
            request_id: request_id.to_string(),
            shipment_id: shipment,
            kind: event.into(),
            occur_time: None,
            tracking,
        });
        let recorded = peer.client.record_carrier_event(request).await;
        let answer = peer.done("the report was not booked", request_id, recorded)?;
        context.output.answer(&answer, |answer| table(answer.shipment.as_slice()).to_string())
    }
}
