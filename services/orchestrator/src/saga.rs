//! The sagas this service runs, one file each. A room of its own: these are neither pure rules nor shell, but the list of
//! calls that make the domain happen.

pub mod place_order;

use spillway_saga::{Outcome, Unknown};
use spillway_types::Fault;

/// Judges a participant's reply. Its word counts as a refusal only when it says that it has recorded it; anything else is
/// unknown, whatever the code, until the owner of the data says otherwise.
fn judge<T>(reply: Result<T, Fault>) -> Outcome<T> {
    match reply {
        Ok(output) => Outcome::Done(output),
        Err(fault) if fault.is_recorded() => Outcome::Refused(fault),
        Err(fault) => Outcome::Unknown(Unknown::from(fault)),
    }
}

/// A participant's row stands where it never should when it is asked this: a person has to look.
fn out_of_place(thing: &str, state: impl std::fmt::Display) -> Unknown {
    Unknown::permanent(Fault::internal().with(thing, state))
}
