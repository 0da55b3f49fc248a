//! The wire: code generated from `proto/`, and what turns it into the words of `spillway_types` and back.
//!
//! | module | holds |
//! |---|---|
//! | [`orchestrator`], [`order`], [`inventory`], [`payment`], [`fulfilment`] | messages, clients and servers of a domain |
//! | [`admin`] | messages of the services on the admin listener |
//! | [`types`] | shared messages (`spillway.type.v1`) |
//! | [`google`] | vendored: [`google::type_::Money`] |
//! | [`convert`] | money, time, ids and lines; every wrong field noted in `Violations` |
//! | [`page`] | page sizes and opaque page tokens |
//! | [`policy`] | what the protos promise of each method: idempotency, streaming |
#![warn(missing_docs)]

pub mod convert;
pub mod page;
pub mod policy;

/// Generated code refers to its neighbours by the nesting of their packages, so it keeps that nesting in here.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    missing_debug_implementations,
    clippy::all,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    rustdoc::all,
    reason = "written by prost and tonic; its documentation is the comments of the protos"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
}

pub use generated::spillway::{admin, fulfilment, inventory, orchestrator, order, payment, r#type as types};

/// Vendored protos of Google's.
pub mod google {
    pub use crate::generated::google::r#type as type_;
}

/// Every file of `proto/` and what they import, as an encoded `google.protobuf.FileDescriptorSet`; for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
