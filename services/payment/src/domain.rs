//! The rules of payments and wallets. Pure: rows and the time come in, an answer and effects go out.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | the states of a payment and what leads from one to another |
//! | [`payment`] | a payment, its refunds, and what the provider still has to be asked |
//! | [`tender`] | how a price is shared over coupon, points and method, and how it goes back |
//! | [`wallet`] | points in double entry |
//! | [`coupon`] | what a coupon is good for |
//! | [`command`] | what can be asked of the till |
//! | [`hold`] | taking, spending and releasing coupon and points for a payment |
//! | [`till`] | [`decide`]: the judgement of one command |

pub mod command;
pub mod coupon;
pub mod hold;
pub mod payment;
pub mod state;
pub mod tender;
pub mod till;
pub mod wallet;

pub use command::{Answer, Command};
pub use coupon::{Coupon, CouponKey, CouponState};
pub use payment::{Ask, Asked, Outcome, Payment, Refund, RefundKey, RefundState, Task};
pub use state::{Event, State};
pub use tender::{Shares, Tenders};
pub use till::{Decision, Effects, View, decide};
pub use wallet::{Account, Transfer, Wallet};
