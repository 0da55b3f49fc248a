//! What the whole-system tests share: a platform of their own, and a shopper.

pub mod shop;
