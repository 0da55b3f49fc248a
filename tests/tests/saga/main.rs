//! The saga by exhaustion, on the real participants: every step's call and every compensation goes wrong in every way, the
//! platform stops at every call, and every call meets a cancellation. Suites iterate the definition: a new step is covered
//! without a new test.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test; helpers outside test functions count as such too"
)]

mod buyer;
mod cancel;
mod crash;
mod mishaps;
mod steps;
mod storm;
