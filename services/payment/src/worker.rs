//! Loops beside the handlers: whatever the provider still has to be asked is asked until it answers. (The outbox relay is
//! storage's.)

pub mod settle;
