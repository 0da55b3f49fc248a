//! Why a command did not do what it was asked for: for people a few lines that end with what to do next, for machines
//! the same as an object.

use std::{collections::BTreeMap, fmt, io};

use serde::Serialize;
use spillway_runtime::config::ConfigErrors;
use spillway_types::{
    Class, Code, Fault, Reason,
    fault::{FieldViolation, Precondition, Resource},
};

use super::{Exit, hint};

/// Why a command did not do what it was asked for. As JSON these are the fields of `error`; they are kept stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// What did not happen, for people.
    what: &'static str,
    /// Why: `ErrorInfo.reason` of the platform, or one of the command's own: `INVALID_ARGUMENTS`,
    /// `INVALID_CONFIGURATION`, `FAILED`.
    reason: &'static str,
    /// The gRPC code that it came with; absent when the command itself failed.
    code: Option<String>,
    /// Why, for people.
    message: String,
    /// Dynamic values, by lower-snake-case name.
    metadata: BTreeMap<String, String>,
    /// Each field or setting that is wrong.
    violations: Vec<FieldViolation>,
    /// Each condition that does not hold.
    preconditions: Vec<Precondition>,
    /// What was not found, or is in the way.
    resource: Option<Resource>,
    /// When trying again makes sense, in milliseconds.
    retry_after_ms: Option<u64>,
    /// What to do next, for people; a line each.
    next: Vec<String>,
    #[serde(skip)]
    exit: Exit,
    #[serde(skip)]
    silent: bool,
}

// === impl Failure ===

impl Failure {
    /// The platform refused, or did not answer. `what` says what did not happen.
    pub(crate) fn call(what: &'static str, fault: Fault) -> Self {
        let exit = match fault.reason.class() {
            // What was typed cannot be carried out by anybody.
            Class::Terminal if fault.reason == Reason::InvalidRequest => Exit::Usage,
            Class::Terminal | Class::Success => Exit::Refused,
            Class::Transient | Class::Overload | Class::Unknown => Exit::Unknown,
        };
        let hint = hint::of(&fault);
        Self {
            what,
            reason: fault.reason.as_str(),
            code: Some(code_name(fault.reason.code())),
            message: fault.message,
            metadata: fault.metadata,
            violations: fault.fields,
            preconditions: fault.preconditions,
            resource: fault.resource,
            retry_after_ms: fault.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            next: vec![hint],
            exit,
            silent: false,
        }
    }

    /// The command line cannot be read; `text` says why, and how it should be.
    pub(crate) fn arguments(text: &str) -> Self {
        Self::local("the command line is wrong", "INVALID_ARGUMENTS", text, Exit::Usage)
    }

    /// The settings are no good.
    pub(crate) fn configuration(errors: &ConfigErrors) -> Self {
        let failure = Self::local("bad configuration", "INVALID_CONFIGURATION", &errors.to_string(), Exit::Usage);
        failure.with_next("see every setting with its default: spillway config")
    }

    /// Something on this machine failed, with what the system said.
    pub(crate) fn ours(what: &'static str, error: &(impl fmt::Display + ?Sized)) -> Self {
        Self::local(what, "FAILED", &error.to_string(), Exit::Refused)
    }

    /// An answer could not be printed. A reader who has gone away has seen enough.
    pub(crate) fn unprinted(error: &io::Error) -> Self {
        let failure = Self::ours("the answer cannot be printed", error);
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { silent: true, exit: Exit::Done, ..failure },
            _ => failure,
        }
    }

    fn local(what: &'static str, reason: &'static str, message: &str, exit: Exit) -> Self {
        Self {
            what,
            reason,
            code: None,
            message: message.to_owned(),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            preconditions: Vec::new(),
            resource: None,
            retry_after_ms: None,
            next: Vec::new(),
            exit,
            silent: false,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn with_next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// Puts what to do next in the place of the hint that goes with the reason.
    #[must_use]
    pub(crate) fn with_only_next(mut self, next: impl Into<String>) -> Self {
        self.next.clear();
        self.with_next(next)
    }

    /// What was to be done is not decided by this: asking again may help.
    #[must_use]
    pub(crate) fn undecided(self) -> Self {
        Self { exit: Exit::Unknown, ..self }
    }

    /// Adds a dynamic value.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.metadata.insert(name.to_owned(), value.to_string());
        self
    }

    /// The exit code to end with.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether it is nothing to talk about.
    pub(crate) const fn is_silent(&self) -> bool {
        self.silent
    }
}

impl Failure {
    /// What there is to say beside the message, by name.
    fn details(&self) -> Vec<(String, String)> {
        let reason = self.code.iter().map(|_| ("reason".to_owned(), self.reason.to_owned()));
        let fields = self.violations.iter().map(|v| ("field".to_owned(), format!("{}: {}", v.field, v.description)));
        let conditions =
            self.preconditions.iter().map(|p| (p.kind.to_lowercase(), format!("{}: {}", p.subject, p.description)));
        // Whether a refusal was recorded matters to the saga, not to people.
        let metadata = self.metadata.iter().filter(|(name, _)| *name != "recorded");
        let metadata = metadata.map(|(name, value)| (name.clone(), value.clone()));
        let again = self.retry_after_ms.iter().map(|millis| ("again in".to_owned(), format!("{millis} ms")));
        reason.chain(fields).chain(conditions).chain(metadata).chain(again).collect()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A malformed request's message repeats every violation; they have lines of their own here.
        let message = if self.violations.is_empty() {
            self.message.as_str()
        } else {
            self.message.split_once(": ").map_or(self.message.as_str(), |(head, _)| head)
        };
        let space = if message.contains('\n') { '\n' } else { ' ' };
        writeln!(f, "error: {}:{space}{message}", self.what)?;
        let details = self.details();
        let width = details.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        details.iter().try_for_each(|(name, value)| writeln!(f, "  {name:width$}  {value}"))?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: {next}"))
    }
}

/// The canonical name of a code: `FAILED_PRECONDITION`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
