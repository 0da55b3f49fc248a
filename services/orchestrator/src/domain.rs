//! The rules of checkout: what an order is before it is placed, and what it costs. Pure.

pub mod order;
pub mod price;

pub use order::NewOrder;
pub use price::{PriceSnapshot, PricedLine};
