//! The rules of the ledger. Pure: rows and the time come in, an answer and effects go out.
//!
//! | module | holds |
//! |---|---|
//! | [`item`] | balances of a SKU and the moves between them |
//! | [`reservation`] | the states of a reservation and its lines |
//! | [`command`] | what can be asked of the ledger |
//! | [`ledger`] | [`decide`]: the judgement of one command |
//! | [`admission`] | the gate's quick guess at that judgement |

pub mod admission;
pub mod command;
pub mod item;
pub mod ledger;
pub mod reservation;

pub use command::{Answer, Command};
pub use item::{Item, Movement, MovementKind};
pub use ledger::{Decision, Effects, View, decide};
pub use reservation::{Hold, Line, Reservation, State};
