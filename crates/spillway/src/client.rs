//! The way to a running platform: clients of its services behind the client stack, so that this command retries by the
//! documented policy, as any caller of the platform should.

use std::time::Duration;

use spillway_contracts::{
    admin::v1::event_service_client::EventServiceClient,
    fulfilment::v1::{
        fulfilment_service_client::FulfilmentServiceClient, warehouse_service_client::WarehouseServiceClient,
    },
    inventory::v1::inventory_service_client::InventoryServiceClient,
    orchestrator::v1::{checkout_service_client::CheckoutServiceClient, saga_service_client::SagaServiceClient},
    order::v1::order_service_client::OrderServiceClient,
    page::MAX_PAGE_SIZE,
    payment::v1::wallet_service_client::WalletServiceClient,
};
use spillway_middleware::{Client, ClientConfig, Policies, Preset, status::to_fault};
use spillway_runtime::{connect, policies};
use spillway_types::{Class, Fault, Reason, RequestId};
use tonic::{Request, Response, Status};

use crate::{
    config::{Peers, Settings},
    output::Failure,
};

/// A running platform, as the settings say where it is.
#[derive(Debug)]
pub(crate) struct Platform {
    config: ClientConfig,
    places: Peers,
    policies: Policies,
    timeout: Option<Duration>,
}

/// A service, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Peer<C> {
    /// The generated client.
    pub(crate) client: C,
    name: &'static str,
    /// Where it is, or its replicas are, for people.
    address: String,
    timeout: Option<Duration>,
}

// === impl Platform ===

impl Platform {
    /// The platform of `settings`, asked with `timeout`, or with what `client.deadline` says.
    pub(crate) fn new(settings: Settings, timeout: Option<Duration>) -> Self {
        let places = settings.places();
        Self { config: settings.client, places, policies: policies(), timeout }
    }

    /// How long the person is ready to wait for an answer, if that was said.
    pub(crate) const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Where orders are placed.
    pub(crate) fn checkout(&self) -> Result<Peer<CheckoutServiceClient<Client>>, Failure> {
        self.peer("orchestrator", &self.places.orchestrator, CheckoutServiceClient::new)
    }

    /// What drives them.
    pub(crate) fn sagas(&self) -> Result<Peer<SagaServiceClient<Client>>, Failure> {
        self.peer("orchestrator", &self.places.orchestrator, SagaServiceClient::new)
    }

    /// Where they are kept.
    pub(crate) fn orders(&self) -> Result<Peer<OrderServiceClient<Client>>, Failure> {
        self.peer("order", &self.places.order, OrderServiceClient::new)
    }

    /// What there is to sell.
    pub(crate) fn inventory(&self) -> Result<Peer<InventoryServiceClient<Client>>, Failure> {
        self.peer("inventory", &self.places.inventory, InventoryServiceClient::new)
    }

    /// What buyers own.
    pub(crate) fn wallets(&self) -> Result<Peer<WalletServiceClient<Client>>, Failure> {
        self.peer("payment", &self.places.payment, WalletServiceClient::new)
    }

    /// What is on its way.
    pub(crate) fn fulfilment(&self) -> Result<Peer<FulfilmentServiceClient<Client>>, Failure> {
        self.peer("fulfilment", &self.places.fulfilment, FulfilmentServiceClient::new)
    }

    /// Where it leaves from.
    pub(crate) fn warehouses(&self) -> Result<Peer<WarehouseServiceClient<Client>>, Failure> {
        self.peer("fulfilment", &self.places.fulfilment, WarehouseServiceClient::new)
    }

    /// The processes, as operators ask them: each by itself, since each answers for itself only.
    pub(crate) fn processes(&self) -> Result<Vec<Peer<EventServiceClient<Client>>>, Failure> {
        let places = self.places.admin.split(',').map(str::trim).filter(|place| !place.is_empty());
        places.map(|place| self.peer("admin", place, EventServiceClient::new)).collect()
    }

    fn peer<C>(&self, name: &'static str, places: &str, client: impl FnOnce(Client) -> C) -> Result<Peer<C>, Failure> {
        let connected = connect(places, &self.config, &self.policies, Preset::Edge);
        let connected = connected.map_err(|error| Failure::ours("there is no way to the platform", &error))?;
        let address = places.replace("http://", "").replace(',', " or ");
        Ok(Peer { client: client(connected), name, address, timeout: self.timeout })
    }
}

// === impl Peer ===

impl<C> Peer<C> {
    /// A request with the time that the person gave.
    pub(crate) fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    /// The answer of a call; `what` says what did not happen when there is none.
    pub(crate) fn answer<R>(&self, what: &'static str, called: Result<Response<R>, Status>) -> Result<R, Failure> {
        called.map(Response::into_inner).map_err(|status| self.failure(what, &status))
    }

    /// The answer of a call that changes something under the key `request_id`, which a person needs to ask again
    /// without a second effect.
    pub(crate) fn done<R>(
        &self,
        what: &'static str,
        request_id: RequestId,
        called: Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        called.map(Response::into_inner).map_err(|status| {
            let failure = self.failure(what, &status);
            match to_fault(&status).reason.class() {
                Class::Unknown => failure.with("request_id", request_id).with_next(format!(
                    "it may have been done; the same command with --request-id {request_id} takes effect once"
                )),
                Class::Success | Class::Transient | Class::Overload | Class::Terminal => failure,
            }
        })
    }

    /// What a status means to a person.
    pub(crate) fn failure(&self, what: &'static str, status: &Status) -> Failure {
        Failure::call(what, self.fault(status))
    }

    /// The fault of a status; when nobody answered, with the address that did not.
    fn fault(&self, status: &Status) -> Fault {
        let fault = to_fault(status);
        match fault.reason {
            Reason::Unreachable => {
                Fault { message: format!("the {} service does not answer at {}", self.name, self.address), ..fault }
            }
            _ => fault,
        }
    }
}

/// Reads pages of a list until there are `limit` rows or no more. Gives the rows and the token of the page after them,
/// which is empty when there is none.
pub(crate) async fn pages<T>(
    limit: u32,
    mut page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, String), Failure> {
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let size = i32::try_from(left.min(MAX_PAGE_SIZE)).unwrap_or(i32::MAX);
        if size == 0 {
            return Ok((rows, token));
        }
        let (more, next) = page(size, token).await?;
        rows.extend(more);
        token = next;
        if token.is_empty() {
            return Ok((rows, token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_read_page_by_page_up_to_its_limit() {
        let mut asked = Vec::new();
        let read = pages(1_100, async |size, token: String| {
            asked.push((size, token.clone()));
            let rows = vec![(); usize::try_from(size).unwrap()];
            Ok((rows, format!("{token}+")))
        });
        let (rows, token) = read.await.unwrap();
        let expected = [(500, ""), (500, "+"), (100, "++")].map(|(size, token)| (size, token.to_owned()));
        assert_eq!((rows.len(), token.as_str(), asked.as_slice()), (1_100, "+++", expected.as_slice()));
    }

    #[tokio::test]
    async fn a_list_ends_with_its_last_page() {
        let (rows, token) = pages(50, async |_, _| Ok((vec![1, 2], String::new()))).await.unwrap();
        assert_eq!((rows, token), (vec![1, 2], String::new()));
    }
}
