//! What a check is.

/// One thing that must be true, as the SQL that finds where it is not.
///
/// Statements see the services' files as the schemas `inventory`, `orders`, `payment`, `fulfilment`, `orchestrator` and
/// `sandbox`, and what [`super::database`] makes for them: the views `at_rest` and `finished`, the table `moment`, and
/// the tables of legal moves.
#[derive(Debug)]
pub(super) struct Check {
    /// The invariant, such as `I1`.
    pub(super) id: &'static str,
    /// Its own name, for machines: several checks may share an invariant.
    pub(super) name: &'static str,
    /// What must be true, for people.
    pub(super) title: &'static str,
    /// What it looks at, in the plural.
    pub(super) about: &'static str,
    /// Which files it compares.
    pub(super) scope: Scope,
    /// Counts what is judged.
    pub(super) count: &'static str,
    /// Gives the rows that should not be. The first column is the subject: what a second look finds again.
    ///
    /// A full join has a table with its key on the right, never a subquery: SQLite would look through all of that for
    /// each row on the left. Two subqueries are piled up and counted instead.
    pub(super) violations: &'static str,
}

/// Which files a check compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Rows of one file with each other: what one look finds is so.
    Within,
    /// Several files: what one look finds may only be on its way from one to the other.
    Across,
    /// Our files with the sandbox provider's, where there is one.
    Provider,
}

// === impl Check ===

impl Check {
    /// The number of the invariant, for sorting.
    pub(super) fn number(&self) -> u32 {
        self.id.trim_start_matches('I').parse().unwrap_or(u32::MAX)
    }
}
