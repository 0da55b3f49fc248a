//! The rules of orders. Pure: rows and the time come in, an answer and effects go out.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | states, moves, roles, and the one table of what may become what, by whom |
//! | [`order`] | an order's row and the entries of its audit trail |
//! | [`price`] | the price snapshot, and whether it adds up |
//! | [`progress`] | what fulfilment's news mean for an order |
//! | [`command`] | what can be asked of an order |
//! | [`judge`] | [`decide`]: the judgement of one command |

pub mod command;
pub mod judge;
pub mod machine;
pub mod order;
pub mod price;
pub mod progress;

pub use command::{Advance, Answer, Command, Create, News};
pub use judge::{Decision, Effects, View, decide};
pub use machine::{Move, Role, State};
pub use order::{Address, Contents, Entry, Order};
pub use price::{Price, PricedLine};
pub use progress::Progress;

#[cfg(test)]
pub(crate) mod tests;
