//! A catalogue to sell from: some ordinary items, and the one that everybody wants.

use spillway_contracts::{
    convert::to_money,
    inventory::v1::{CreateItemRequest, inventory_service_client::InventoryServiceClient},
};
use spillway_middleware::{Client, status::to_fault};
use spillway_types::{Money, Reason, RequestId, Sku};

use super::DemoError;

/// The item that everybody wants, where nobody has bought any yet.
pub(crate) const HOT: &str = "SNEAKER-RED-42";

/// Ordinary items: SKU, title, price in cents, units.
const CATALOGUE: [(&str, &str, i64, i64); 5] = [
    ("SNEAKER-BLUE-42", "Sneaker, blue, 42", 8_900, 500),
    ("TEE-BLACK-M", "T-shirt, black, M", 1_999, 2_000),
    ("CAP-GREEN", "Cap, green", 1_450, 300),
    ("SOCKS-3", "Socks, three pairs", 990, 5_000),
    ("BAG-GYM", "Gym bag", 3_500, 120),
];

/// Puts the catalogue and `stock` units of `hot` into inventory. Ordinary items may be there from an earlier sale.
pub(crate) async fn catalogue(inventory: &Client, hot: &str, stock: u32) -> Result<(), DemoError> {
    let mut inventory = InventoryServiceClient::new(inventory.clone());
    let wanted = (hot, "Sneaker, red, 42, limited", 12_900, i64::from(stock));
    for (sku, title, cents, on_hand) in CATALOGUE.into_iter().chain([wanted]) {
        let price = Money::new(cents, "EUR".parse()?);
        let request = CreateItemRequest {
            request_id: RequestId::random().to_string(),
            sku: Sku::new(sku)?.to_string(),
            title: title.to_owned(),
            price: Some(to_money(price)),
            on_hand,
        };
        match inventory.create_item(request).await {
            Err(status) if sku != hot && to_fault(&status).reason == Reason::AlreadyExists => {}
            created => drop(created?),
        }
    }
    Ok(())
}
