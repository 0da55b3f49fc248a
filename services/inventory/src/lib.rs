//! Inventory: what there is, what is promised, what is sold. Sold exactly to zero.
//!
//! | room | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`domain`] | the ledger's rules, pure |
//! | [`store`] | where the ledger is kept |
//! | `rpc` | gRPC handlers, one file a verb |
//! | `worker` | the expiry sweeper |
pub mod domain;
mod rpc;
pub mod store;
