//! The four participants of the saga as one thing, so that a promise is tested once, against each of them.

use std::fmt;

use async_trait::async_trait;
use spillway_middleware::status::to_fault;
use spillway_types::{BuyerId, Clock, Fault, OrderId, Reason, SystemClock, id::Partition};
use tonic::{Response, Status};

use crate::shop::Shop;

mod diary;
mod fulfilment;
mod house;
mod inventory;
mod order;
mod payment;

pub use diary::{Deed, Diary, Settled};
pub use house::House;

/// Who buys, in every scenario.
const BUYER: &str = "ada";

/// What a forward command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// The same as ever.
    Usual,
    /// Something else.
    Other,
}

/// What a participant answers when it does not refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where the effect stands, in the contract's words.
    pub state: &'static str,
    /// The whole message, as text.
    pub message: String,
}

/// The states that scenarios ask for, in the contract's words.
#[derive(Clone, Copy, Debug)]
pub struct States {
    /// After the forward command.
    pub done: &'static str,
    /// After the compensation.
    pub undone: &'static str,
    /// Once it is too late to compensate.
    pub past_pivot: &'static str,
}

/// What a participant has written, as SQL over its database.
#[derive(Clone, Copy, Debug)]
pub struct Books {
    /// The database, inside the data directory.
    pub file: &'static str,
    /// Each row of state: its key, its version.
    pub rows: &'static str,
    /// Where its changes are told.
    pub topic: &'static str,
    /// The table of its audit.
    pub audit: &'static str,
    /// Rows of state that their audit does not account for; none, if all is well.
    pub unaccounted: &'static str,
    /// For how many orders something is held.
    pub held: &'static str,
}

/// A participant: a forward command, its compensation, and what can become of both.
#[async_trait]
pub trait Participant: fmt::Debug + Send + Sync {
    /// Its name, and what is particular about it.
    fn name(&self) -> &'static str;
    /// Its states.
    fn states(&self) -> States;
    /// Why [`Self::refuse`] is refused.
    fn refusal(&self) -> Reason;
    /// Its books.
    fn books(&self) -> Books;
    /// Puts in place what its commands need.
    async fn prepare(&self, shop: &Shop);
    /// The saga's command. Each holds something for one order.
    async fn forward(&self, shop: &Shop, order_id: OrderId, wording: Wording) -> Result<Answer, Fault>;
    /// Its compensation.
    async fn compensate(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault>;
    /// Forward, and on until it is too late to compensate.
    async fn past_pivot(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault>;
    /// A command that is refused for good.
    async fn refuse(&self, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault>;
    /// Takes the cause of the refusals away, and shows it with the same command for `other`.
    async fn relent(&self, shop: &Shop, other: OrderId) -> Result<Answer, Fault>;
}

/// A participant under test.
pub type Subject = &'static dyn Participant;

/// Every participant. Payment stands here twice, since a provider that answers late opens states of its own.
pub const ALL: [Subject; 5] = [
    &inventory::Inventory,
    &order::Order,
    &payment::Payment::BY_SLOW_CARD,
    &payment::Payment::BY_POINTS,
    &fulfilment::Fulfilment,
];

/// An id for another order.
pub fn fresh() -> OrderId {
    OrderId::mint(SystemClock.now(), &BuyerId::new(BUYER).unwrap(), Partition(0))
}

/// What came back, without its envelope.
fn opened<T>(result: Result<Response<T>, Status>) -> Result<T, Fault> {
    result.map(Response::into_inner).map_err(|status| to_fault(&status))
}

// === impl Answer ===

impl Answer {
    fn new(state: &'static str, message: &impl fmt::Debug) -> Self {
        Self { state, message: format!("{message:?}") }
    }
}
