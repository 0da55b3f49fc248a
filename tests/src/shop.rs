//! A platform in this process, on free ports and a data directory of its own, with typed clients.

use std::{path::Path, time::Duration};

use spillway::{
    config::Settings,
    platform::{Addresses, Platform},
};
use spillway_contracts::{
    convert::to_money,
    fulfilment::v1::{
        fulfilment_service_client::FulfilmentServiceClient, warehouse_service_client::WarehouseServiceClient,
    },
    inventory::v1::{CreateItemRequest, GetItemRequest, Item, inventory_service_client::InventoryServiceClient},
    orchestrator::v1::{
        ListSagasRequest, PaymentMethod, PlaceOrderRequest, SagaState, checkout_service_client::CheckoutServiceClient,
        saga_service_client::SagaServiceClient,
    },
    order::v1::order_service_client::OrderServiceClient,
    payment::v1::{payment_service_client::PaymentServiceClient, wallet_service_client::WalletServiceClient},
    types::v1::{Address, Line},
};
use spillway_middleware::{Client, ClientConfig, Preset};
use spillway_orchestrator::Links;
use spillway_types::{Money, RequestId};

/// Clients of all five services. Their stack retries, as a well-behaved caller's does.
#[derive(Clone, Debug)]
pub struct Shop {
    pub checkout: CheckoutServiceClient<Client>,
    pub sagas: SagaServiceClient<Client>,
    pub orders: OrderServiceClient<Client>,
    pub inventory: InventoryServiceClient<Client>,
    pub payments: PaymentServiceClient<Client>,
    pub wallets: WalletServiceClient<Client>,
    pub fulfilment: FulfilmentServiceClient<Client>,
    pub warehouses: WarehouseServiceClient<Client>,
}

/// Settings for a platform on free ports over `data`.
pub fn settings(data: &Path, overrides: &[(&str, &str)]) -> Settings {
    let mut all = vec![("data.dir".to_owned(), data.display().to_string())];
    for service in ["orchestrator", "order", "inventory", "payment", "fulfilment"] {
        all.push((format!("{service}.listen"), "127.0.0.1:0".to_owned()));
    }
    all.push(("admin.listen".to_owned(), String::new()));
    all.extend(overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Settings::load(None, &all).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Starts a platform over `data`, with something around the orchestrator's way to its participants.
pub async fn open(data: &Path, overrides: &[(&str, &str)], around: impl FnOnce(Links) -> Links) -> (Platform, Shop) {
    let settings = settings(data, overrides);
    let client = settings.client.clone();
    let platform = Platform::start_with(settings, around).await.unwrap_or_else(|error| panic!("{error}"));
    let shop = Shop::at(platform.addresses(), &client);
    (platform, shop)
}

// === impl Shop ===

impl Shop {
    /// Clients of the platform at `addresses`.
    pub fn at(addresses: Addresses, client: &ClientConfig) -> Self {
        let address = |service: &str| match service {
            "orchestrator" => addresses.orchestrator,
            "order" => addresses.order,
            "inventory" => addresses.inventory,
            "payment" => addresses.payment,
            _ => addresses.fulfilment,
        };
        Self::among(|service| format!("http://{}", address(service)), client)
    }

    /// Clients of a platform whose replicas of a service are at `peers(service)`, with commas between.
    pub fn among(peers: impl Fn(&str) -> String, client: &ClientConfig) -> Self {
        let policies = spillway_runtime::policies();
        let connect = |service| {
            let connected = spillway_runtime::connect(&peers(service), client, &policies, Preset::Edge);
            connected.unwrap_or_else(|error| panic!("{error}"))
        };
        Self {
            checkout: CheckoutServiceClient::new(connect("orchestrator")),
            sagas: SagaServiceClient::new(connect("orchestrator")),
            orders: OrderServiceClient::new(connect("order")),
            inventory: InventoryServiceClient::new(connect("inventory")),
            payments: PaymentServiceClient::new(connect("payment")),
            wallets: WalletServiceClient::new(connect("payment")),
            fulfilment: FulfilmentServiceClient::new(connect("fulfilment")),
            warehouses: WarehouseServiceClient::new(connect("fulfilment")),
        }
    }

    /// Puts an item on the shelf.
    pub async fn stock(&mut self, sku: &str, cents: i64, on_hand: i64) -> Item {
        let request = CreateItemRequest {
            request_id: RequestId::random().to_string(),
            sku: sku.to_owned(),
            title: sku.to_owned(),
            price: Some(to_money(Money::new(cents, "EUR".parse().unwrap()))),
            on_hand,
        };
        self.inventory.create_item(request).await.unwrap().into_inner().item.unwrap()
    }

    /// An item as it stands.
    pub async fn item(&mut self, sku: &str) -> Item {
        let request = GetItemRequest { sku: sku.to_owned() };
        self.inventory.get_item(request).await.unwrap().into_inner().item.unwrap()
    }
}

/// Something once no saga is under way; nothing while one is, or the platform does not say.
pub async fn at_rest(mut shop: Shop) -> Option<()> {
    let states = [SagaState::Running, SagaState::Compensating, SagaState::Waiting, SagaState::Parked];
    let unfinished = ListSagasRequest { states: states.map(i32::from).to_vec(), ..ListSagasRequest::default() };
    let sagas = shop.sagas.list_sagas(unfinished).await.ok()?.into_inner().sagas;
    sagas.is_empty().then_some(())
}

/// An order for `quantity` of `sku`, paid with `instrument`.
pub fn order(buyer: &str, sku: &str, quantity: u32, instrument: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: RequestId::random().to_string(),
        buyer_id: buyer.to_owned(),
        lines: vec![Line { sku: sku.to_owned(), quantity }],
        payment_method: Some(PaymentMethod { instrument: instrument.to_owned() }),
        shipping_address: Some(Address { region: "EU".to_owned(), ..Address::default() }),
        ..PlaceOrderRequest::default()
    }
}

/// Asks until `condition` gives something, at most for `limit`.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> T {
    let give_up = tokio::time::Instant::now() + limit;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < give_up, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
