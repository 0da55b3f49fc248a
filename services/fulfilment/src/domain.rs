//! The rules of fulfilment. Pure: rows and the time come in, an answer and effects go out.
//!
//! | module | holds |
//! |---|---|
//! | [`region`] | where orders go, and where a warehouse sends to |
//! | [`warehouse`] | a place that parcels leave from, and its days |
//! | [`planning`] | [`draft`](planning::draft): which warehouse sends what |
//! | [`shipment`] | the states of one parcel |
//! | [`plan`] | the states of an order's parcels, all together |
//! | [`command`] | what can be asked of fulfilment |
//! | [`fulfilment`] | [`decide`]: the judgement of one command |

pub mod command;
pub mod fulfilment;
pub mod plan;
pub mod planning;
pub mod region;
pub mod shipment;
pub mod warehouse;

pub use command::{Answer, Command, Once};
pub use fulfilment::{Decision, Effects, View, decide};
pub use plan::{Plan, PlanChange, PlanState, Planned};
pub use region::{Coverage, Region};
pub use shipment::{CarrierEvent, CarrierReport, Shipment, ShipmentState};
pub use warehouse::{Day, Warehouse};
