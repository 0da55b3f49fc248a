//! The shape of a saga: its steps as a graph, checked once, when the definition is built.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::{BadPolicy, StepPolicy};

/// How a step behaves when the saga cannot go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// It can be undone. A compensatable step without a compensation cannot be written: the builder asks for the type
    /// that has one.
    Compensatable,
    /// The point of no return: from its success on there is only forward.
    Pivot,
    /// It comes after the pivot and never refuses.
    Retriable,
}

/// Why a definition is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// There is nothing to do.
    #[error("a saga needs at least one step")]
    Empty,
    /// Two steps would share one line in the journal.
    #[error("two steps are called {0}")]
    DuplicateName(&'static str),
    /// A step is ordered after one that does not exist.
    #[error("{step} comes after {after}, which is no step of this saga")]
    UnknownStep {
        /// Who says so; `arbiter` and `answer_after` are named like steps here.
        step: &'static str,
        /// The name that no step has.
        after: String,
    },
    /// A step would wait for itself.
    #[error("{0} comes, in the end, after itself")]
    Cycle(&'static str),
    /// On one path the second could refuse what the first made final; side by side they could disagree.
    #[error("{0} and {1} are both pivots; a saga has one point of no return at most")]
    TwoPivots(&'static str, &'static str),
    /// It could refuse, or be left undone, when there is no turning back any more.
    #[error("{0} can be compensated, but does not come before the pivot")]
    CompensatableNotBeforePivot(&'static str),
    /// It would run while the saga may still turn back, and has no compensation.
    #[error("{0} is retriable, but does not come after the pivot")]
    RetriableNotAfterPivot(&'static str),
    /// Nobody decides whether the saga can turn back.
    #[error("a saga needs an arbiter: the step whose compensation decides whether it can turn back")]
    NoArbiter,
    /// It has no compensation to decide with.
    #[error("{0} is the arbiter, but cannot be compensated")]
    ArbiterNotCompensatable(&'static str),
    /// A budget makes no sense.
    #[error("{step}: {error}")]
    Policy {
        /// Whose budget.
        step: &'static str,
        /// What is wrong with it.
        error: BadPolicy,
    },
}

/// A saga's shape. Steps are numbered in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<PlannedStep>,
    /// The step whose compensation goes first and alone when the saga turns back.
    pub(crate) arbiter: usize,
    /// The steps after which the caller can be answered.
    pub(crate) answer_after: Vec<usize>,
}

/// One step of the shape.
#[derive(Debug)]
pub(crate) struct PlannedStep {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) policy: StepPolicy,
    /// The steps that it waits for.
    pub(crate) after: Vec<usize>,
    /// Those, and all that they wait for in turn.
    pub(crate) ancestors: Vec<usize>,
}

/// A step as it was written down, with names for numbers.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) policy: StepPolicy,
    pub(crate) after: Vec<&'static str>,
}

// === impl Plan ===

impl Plan {
    /// Checks the drafts and numbers them.
    pub(crate) fn new(
        drafts: Vec<Draft>,
        arbiter: Option<&'static str>,
        answer_after: &[&'static str],
    ) -> Result<Self, DefinitionError> {
        if drafts.is_empty() {
            return Err(DefinitionError::Empty);
        }
        let names: Vec<_> = drafts.iter().map(|draft| draft.name).collect();
        if let Some((_, name)) = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name)) {
            return Err(DefinitionError::DuplicateName(name));
        }
        let number = |step: &'static str, name: &&'static str| {
            let missing = || DefinitionError::UnknownStep { step, after: (*name).to_owned() };
            names.iter().position(|known| known == name).ok_or_else(missing)
        };
        let mut steps = Vec::with_capacity(drafts.len());
        for draft in &drafts {
            draft.policy.check().map_err(|error| DefinitionError::Policy { step: draft.name, error })?;
            let after = draft.after.iter().map(|name| number(draft.name, name)).collect::<Result<Vec<_>, _>>()?;
            let Draft { name, kind, policy, .. } = *draft;
            steps.push(PlannedStep { name, kind, policy, after, ancestors: Vec::new() });
        }
        for step in 0..steps.len() {
            steps[step].ancestors = ancestors(&steps, step)?;
        }
        let arbiter = number("arbiter", &arbiter.ok_or(DefinitionError::NoArbiter)?)?;
        let answer_after = answer_after.iter().map(|name| number("answer_after", name)).collect::<Result<_, _>>()?;
        let plan = Self { steps, arbiter, answer_after };
        plan.check_kinds()?;
        Ok(plan)
    }

    /// Whether `step` is the only one that waits for nothing: while it has not been done, nothing else was ever sent.
    pub(crate) fn is_only_root(&self, step: usize) -> bool {
        self.steps.iter().enumerate().all(|(n, planned)| planned.after.is_empty() == (n == step))
    }

    /// The numbers of the steps that can be compensated.
    pub(crate) fn compensatable(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.steps.len()).filter(|step| self.steps[*step].kind == Kind::Compensatable)
    }

    fn check_kinds(&self) -> Result<(), DefinitionError> {
        let mut pivots = self.steps.iter().enumerate().filter(|(_, step)| step.kind == Kind::Pivot);
        let pivot = pivots.next();
        if let (Some((_, first)), Some((_, second))) = (pivot, pivots.next()) {
            return Err(DefinitionError::TwoPivots(first.name, second.name));
        }
        for (n, step) in self.steps.iter().enumerate() {
            match step.kind {
                Kind::Compensatable if pivot.is_some_and(|(_, pivot)| !pivot.ancestors.contains(&n)) => {
                    return Err(DefinitionError::CompensatableNotBeforePivot(step.name));
                }
                Kind::Retriable if pivot.is_none_or(|(number, _)| !step.ancestors.contains(&number)) => {
                    return Err(DefinitionError::RetriableNotAfterPivot(step.name));
                }
                Kind::Compensatable | Kind::Pivot | Kind::Retriable => {}
            }
        }
        let arbiter = &self.steps[self.arbiter];
        if arbiter.kind != Kind::Compensatable {
            return Err(DefinitionError::ArbiterNotCompensatable(arbiter.name));
        }
        Ok(())
    }
}

/// All that `step` waits for, directly or not.
fn ancestors(steps: &[PlannedStep], step: usize) -> Result<Vec<usize>, DefinitionError> {
    let mut found = Vec::new();
    let mut open = steps[step].after.clone();
    while let Some(next) = open.pop() {
        if next == step {
            return Err(DefinitionError::Cycle(steps[step].name));
        }
        if !found.contains(&next) {
            found.push(next);
            open.extend(&steps[next].after);
        }
    }
    found.sort_unstable();
    Ok(found)
}

// === impl Kind ===

impl Kind {
    /// The name that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compensatable => "COMPENSATABLE",
            Self::Pivot => "PIVOT",
            Self::Retriable => "RETRIABLE",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const C: Kind = Kind::Compensatable;
    const P: Kind = Kind::Pivot;
    const R: Kind = Kind::Retriable;

    type Line = (&'static str, Kind, &'static [&'static str]);

    fn plan(steps: &[Line], arbiter: Option<&'static str>) -> Result<Plan, DefinitionError> {
        let policy = StepPolicy::default();
        let drafts = steps
            .iter()
            .map(|(name, kind, after)| Draft { name, kind: *kind, policy, after: after.to_vec() })
            .collect();
        Plan::new(drafts, arbiter, &[])
    }

    #[test]
    fn a_sound_shape_knows_its_order() {
        let plan = plan(
            &[("a", C, &[]), ("b", C, &["a"]), ("c", C, &["a"]), ("p", P, &["b", "c"]), ("z", R, &["p"])],
            Some("b"),
        )
        .unwrap();
        assert_eq!(plan.steps[4].ancestors, [0, 1, 2, 3]);
        assert_eq!((plan.arbiter, plan.is_only_root(0), plan.is_only_root(1)), (1, true, false));
        assert_eq!(plan.compensatable().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_saga_without_a_pivot_is_allowed() {
        assert!(plan(&[("a", C, &[]), ("b", C, &["a"])], Some("b")).is_ok());
    }

    #[test]
    fn every_unsound_shape_is_refused() {
        use DefinitionError as E;
        let unknown = |step, after: &str| E::UnknownStep { step, after: after.to_owned() };
        let refusals: [(&[Line], Option<&'static str>, E); 14] = [
            (&[], Some("a"), E::Empty),
            (&[("a", C, &[]), ("a", C, &[])], Some("a"), E::DuplicateName("a")),
            (&[("a", C, &["x"])], Some("a"), unknown("a", "x")),
            (&[("a", C, &[])], Some("x"), unknown("arbiter", "x")),
            (&[("a", C, &["a"])], Some("a"), E::Cycle("a")),
            (&[("a", C, &["c"]), ("b", C, &["a"]), ("c", C, &["b"])], Some("a"), E::Cycle("a")),
            (&[("a", C, &[]), ("p", P, &["a"]), ("q", P, &["p"])], Some("a"), E::TwoPivots("p", "q")),
            (&[("a", C, &[]), ("p", P, &["a"]), ("q", P, &["a"])], Some("a"), E::TwoPivots("p", "q")),
            (&[("a", C, &[]), ("p", P, &["a"]), ("b", C, &["p"])], Some("a"), E::CompensatableNotBeforePivot("b")),
            (&[("a", C, &[]), ("p", P, &["a"]), ("b", C, &["a"])], Some("a"), E::CompensatableNotBeforePivot("b")),
            (&[("a", C, &[]), ("r", R, &["a"]), ("p", P, &["r"])], Some("a"), E::RetriableNotAfterPivot("r")),
            (&[("a", C, &[]), ("r", R, &["a"])], Some("a"), E::RetriableNotAfterPivot("r")),
            (&[("a", C, &[]), ("p", P, &["a"])], None, E::NoArbiter),
            (&[("a", C, &[]), ("p", P, &["a"])], Some("p"), E::ArbiterNotCompensatable("p")),
        ];
        for (steps, arbiter, expected) in refusals {
            assert_eq!(plan(steps, arbiter).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_senseless_budget_and_an_unknown_answer_are_refused() {
        let policy = StepPolicy { attempt_timeout: Duration::ZERO, ..StepPolicy::default() };
        let draft = |policy| vec![Draft { name: "a", kind: C, policy, after: vec![] }];
        let error = Plan::new(draft(policy), Some("a"), &[]).unwrap_err();
        assert_eq!(error, DefinitionError::Policy { step: "a", error: BadPolicy::NoTime });
        let error = Plan::new(draft(StepPolicy::default()), Some("a"), &["x"]).unwrap_err();
        assert_eq!(error, DefinitionError::UnknownStep { step: "answer_after", after: "x".to_owned() });
    }
}
