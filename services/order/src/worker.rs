//! What the service does without being called.
//!
//! | module | does |
//! |---|---|
//! | [`shipments`] | moves orders along as fulfilment reports their shipments |

pub(crate) mod shipments;
