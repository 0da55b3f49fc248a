//! The sagas this service runs, one file each. A room of its own: these are neither pure rules nor shell, but the list of
//! calls that make the domain happen.

pub mod place_order;

use spillway_saga::{Outcome, Unknown};
use spillway_types::{Class, Fault};

/// Judges a participant's reply. Its word counts as a refusal when it says that it has recorded it, or when its gate said
/// "no" without a record; of that one the engine makes no refusal unless the step was never sent before. Anything else is
/// unknown, whatever the code, until the owner of the data says otherwise.
fn judge<T>(reply: Result<T, Fault>) -> Outcome<T> {
    match reply {
        Ok(output) => Outcome::Done(output),
        Err(fault) if fault.is_recorded() || is_gates_no(&fault) => Outcome::Refused(fault),
        Err(fault) => Outcome::Unknown(Unknown::from(fault)),
    }
}

/// A business refusal that says of itself that it is not on record.
fn is_gates_no(fault: &Fault) -> bool {
    let is_unrecorded = fault.metadata.get("recorded").is_some_and(|recorded| recorded == "false");
    is_unrecorded && fault.reason.class() == Class::Terminal
}

/// A participant's row stands where it never should when it is asked this: a person has to look.
fn out_of_place(thing: &str, state: impl std::fmt::Display) -> Unknown {
    Unknown::permanent(Fault::internal().with(thing, state))
}
