//! A saga written down: typed steps, their order, and who decides about turning back.

use std::{any::Any, fmt, marker::PhantomData, sync::Arc};

use crate::{
    plan::{DefinitionError, Draft, Kind, Plan},
    policy::StepPolicy,
    step::{AnyCompensation, AnyStep, Compensate, Erased, Saga, Step},
};

/// A checked saga, ready to be run by an [`Engine`](crate::Engine).
pub struct Definition {
    name: &'static str,
    version: u32,
    pub(crate) plan: Plan,
    bodies: Vec<Body>,
    decode: fn(&str) -> Result<Arc<dyn Any + Send + Sync>, serde_json::Error>,
}

/// Writes a saga down, step by step; [`build`](Self::build) checks the whole.
pub struct DefinitionBuilder<S> {
    drafts: Vec<Draft>,
    bodies: Vec<Body>,
    arbiter: Option<&'static str>,
    answer_after: Vec<&'static str>,
    saga: PhantomData<fn() -> S>,
}

/// What there is to know of a step without calling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of the steps that it waits for.
    pub after: Vec<&'static str>,
    /// Its budgets.
    pub policy: StepPolicy,
}

/// A step's code.
struct Body {
    step: Box<dyn AnyStep>,
    compensation: Option<Box<dyn AnyCompensation>>,
}

// === impl Definition ===

impl Definition {
    /// Starts writing a saga down.
    pub fn builder<S: Saga>() -> DefinitionBuilder<S> {
        DefinitionBuilder {
            drafts: Vec::new(),
            bodies: Vec::new(),
            arbiter: None,
            answer_after: Vec::new(),
            saga: PhantomData,
        }
    }

    /// The saga's name in the log.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The version in the log.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The steps, in the order in which they were added. Suites iterate them, so that a new step is covered at once.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo> + '_ {
        let name = |step: &usize| self.plan.steps[*step].name;
        self.plan.steps.iter().map(move |step| StepInfo {
            name: step.name,
            kind: step.kind,
            after: step.after.iter().map(name).collect(),
            policy: step.policy,
        })
    }

    /// The name of the step whose compensation decides whether the saga can turn back.
    pub fn arbiter(&self) -> &'static str {
        self.plan.steps[self.plan.arbiter].name
    }

    pub(crate) fn decode_input(&self, json: &str) -> Result<Arc<dyn Any + Send + Sync>, serde_json::Error> {
        (self.decode)(json)
    }

    pub(crate) fn step(&self, step: usize) -> &dyn AnyStep {
        self.bodies[step].step.as_ref()
    }

    pub(crate) fn compensation(&self, step: usize) -> Option<&dyn AnyCompensation> {
        self.bodies[step].compensation.as_deref()
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

// === impl DefinitionBuilder ===

impl<S: Saga> DefinitionBuilder<S> {
    /// Adds a step that can be undone, after the steps named in `after`.
    #[must_use]
    pub fn compensatable<T: Compensate<S>>(mut self, step: T, after: &[&'static str], policy: StepPolicy) -> Self {
        let step = Arc::new(step);
        let compensation = Box::new(Erased::<S, T>::new(Arc::clone(&step)));
        self.bodies.push(Body { step: Box::new(Erased::<S, T>::new(step)), compensation: Some(compensation) });
        self.draft::<T>(Kind::Compensatable, after, policy)
    }

    /// Adds the point of no return.
    #[must_use]
    pub fn pivot<T: Step<S>>(self, step: T, after: &[&'static str], policy: StepPolicy) -> Self {
        self.forward_only(step, Kind::Pivot, after, policy)
    }

    /// Adds a step that comes after the pivot and never refuses.
    #[must_use]
    pub fn retriable<T: Step<S>>(self, step: T, after: &[&'static str], policy: StepPolicy) -> Self {
        self.forward_only(step, Kind::Retriable, after, policy)
    }

    /// Names the compensatable step whose compensation goes first and alone when the saga turns back, and decides whether
    /// it can: that participant's row is where turning back and the pivot meet.
    #[must_use]
    pub fn arbiter(mut self, step: &'static str) -> Self {
        self.arbiter = Some(step);
        self
    }

    /// Names the steps after which the caller can be answered, whatever is still to do. Without any: after all of them.
    #[must_use]
    pub fn answer_after(mut self, steps: &[&'static str]) -> Self {
        self.answer_after = steps.to_vec();
        self
    }

    /// Checks the saga.
    ///
    /// # Errors
    /// When its shape is unsound; [`DefinitionError`] lists how.
    pub fn build(self) -> Result<Definition, DefinitionError> {
        let plan = Plan::new(self.drafts, self.arbiter, &self.answer_after)?;
        let decode = |json: &str| {
            let input: S::Input = serde_json::from_str(json)?;
            Ok(Arc::new(input) as Arc<dyn Any + Send + Sync>)
        };
        Ok(Definition { name: S::NAME, version: S::VERSION, plan, bodies: self.bodies, decode })
    }

    fn forward_only<T: Step<S>>(mut self, step: T, kind: Kind, after: &[&'static str], policy: StepPolicy) -> Self {
        let step = Box::new(Erased::<S, T>::new(Arc::new(step)));
        self.bodies.push(Body { step, compensation: None });
        self.draft::<T>(kind, after, policy)
    }

    fn draft<T: Step<S>>(mut self, kind: Kind, after: &[&'static str], policy: StepPolicy) -> Self {
        self.drafts.push(Draft { name: T::NAME, kind, policy, after: after.to_vec() });
        self
    }
}

impl<S> fmt::Debug for DefinitionBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefinitionBuilder").field("drafts", &self.drafts).finish_non_exhaustive()
    }
}
