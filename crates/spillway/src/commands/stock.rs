//! `spillway stock`: see and change what can be sold.

use clap::{Args, Subcommand};
use spillway_contracts::{
    google::type_::Money,
    inventory::v1::{AdjustStockRequest, CreateItemRequest, Item, ListItemsRequest, ListItemsResponse},
};

use super::{Context, Key, Limit};
use crate::{
    cli::values,
    client::pages,
    output::{Failure, table::Table, words::money},
};

/// The commands about stock.
#[derive(Debug, Subcommand)]
pub(crate) enum StockCommand {
    /// List what there is, by SKU
    List(Limit),
    /// Open the ledger of a new SKU
    Add(Add),
    /// Put pieces in, or take them out
    Adjust(Adjust),
}

/// Options of `stock add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The new SKU
    sku: String,
    /// Its name for people
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// Price of a piece
    #[arg(long, value_name = "MONEY", value_parser = values::money)]
    price: Money,
    /// Pieces in the house
    #[arg(long, value_name = "N", default_value_t = 0)]
    units: i64,
    #[command(flatten)]
    key: Key,
}

/// Options of `stock adjust`.
#[derive(Debug, Args)]
pub(crate) struct Adjust {
    /// Which SKU
    sku: String,
    /// Pieces to put in, or, with a minus, to take out of what is available
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    by: i64,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    key: Key,
}

/// Does it.
pub(crate) async fn run(command: StockCommand, context: &Context) -> Result<(), Failure> {
    match command {
        StockCommand::List(limit) => list(limit, context).await,
        StockCommand::Add(add) => add.run(context).await,
        StockCommand::Adjust(adjust) => adjust.run(context).await,
    }
}

async fn list(limit: Limit, context: &Context) -> Result<(), Failure> {
    let mut inventory = context.platform.inventory()?;
    let (items, next_page_token) = pages(limit.limit, async |page_size, page_token| {
        let request = inventory.ask(ListItemsRequest { page_size, page_token });
        let listed = inventory.client.list_items(request).await;
        let page = inventory.answer("the stock cannot be listed", listed)?;
        Ok((page.items, page.next_page_token))
    })
    .await?;
    let answer = ListItemsResponse { items, next_page_token };
    context.output.answer(&answer, |answer| {
        let nothing = "Nothing in stock. Add something: spillway stock add SKU --title TEXT --price 19.99EUR --units N";
        limit.and_more(table(&answer.items).or(nothing), &answer.next_page_token)
    })
}

fn table(items: &[Item]) -> Table<7> {
    let rows = items.iter().map(|item| {
        [
            item.sku.clone(),
            item.title.clone(),
            money(item.price.as_ref()),
            item.available.to_string(),
            item.held.to_string(),
            item.sold_unshipped.to_string(),
            item.on_hand.to_string(),
        ]
    });
    Table::new(["SKU", "TITLE", ">PRICE", ">AVAILABLE", ">HELD", ">SOLD", ">ON HAND"]).rows(rows)
}

// === impl Add ===

impl Add {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { sku, title, price, units, key } = self;
        let request_id = key.get();
        let mut inventory = context.platform.inventory()?;
        let request =
            CreateItemRequest { request_id: request_id.to_string(), sku, title, price: Some(price), on_hand: units };
        let request = inventory.ask(request);
        let created = inventory.client.create_item(request).await;
        let answer = inventory.done("the item was not added", request_id, created)?;
        context.output.answer(&answer, |answer| table(answer.item.as_slice()).to_string())
    }
}

// === impl Adjust ===

impl Adjust {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { sku, by, reason, key } = self;
        let request_id = key.get();
        let mut inventory = context.platform.inventory()?;
        let request = AdjustStockRequest { request_id: request_id.to_string(), sku, delta: by, reason };
        let request = inventory.ask(request);
        let adjusted = inventory.client.adjust_stock(request).await;
        let answer = inventory.done("the stock was not adjusted", request_id, adjusted)?;
        context.output.answer(&answer, |answer| table(answer.item.as_slice()).to_string())
    }
}
