//! What the command says, and the code that it exits with. Nothing else in here prints.
//!
//! | file | holds |
//! |---|---|
//! | [`failure`] | why a command did not do what it was asked for |
//! | [`hint`] | what to do next, a line a reason |
//! | [`json`] | answers as JSON, by their protos |
//! | [`table`] | aligned columns |
//! | [`words`] | money, times and states for people |

pub(crate) mod failure;
mod hint;
mod json;
pub(crate) mod table;
pub(crate) mod words;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;

pub(crate) use failure::Failure;
use json::{Answer, Lines};

/// How it went, for scripts. `spillway --help` documents the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Refused: asking again gives the same answer. Or `verify` has found a violation.
    Refused,
    /// Not reached, too busy, or the outcome is not known.
    Unknown,
    /// Called or configured wrongly (`EX_USAGE` of `sysexits.h`).
    Usage,
}

/// Where answers and errors go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

/// An error as JSON has it.
#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a Failure,
}

// === impl Exit ===

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Unknown => 2,
            Self::Usage => spillway_runtime::config::EX_USAGE,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

// === impl Output ===

impl Output {
    /// Output for people, or for machines.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// An answer: a JSON document, or what `people` makes of it.
    pub(crate) fn answer<A: Answer>(self, answer: &A, people: impl FnOnce(&A) -> String) -> Result<(), Failure> {
        if self.json { print(&json::of(answer, Lines::Many)?) } else { print(&people(answer)) }
    }

    /// One of many answers: the same, but JSON of one line.
    pub(crate) fn answer_line<A: Answer>(self, answer: &A, people: impl FnOnce(&A) -> String) -> Result<(), Failure> {
        if self.json { print(&json::of(answer, Lines::One)?) } else { print(&people(answer)) }
    }

    /// An answer that is no message: a report.
    pub(crate) fn report<R: Serialize + ToString>(self, report: &R) -> Result<(), Failure> {
        if self.json { print(&pretty(report)?) } else { print(&report.to_string()) }
    }

    /// Something to read that is no answer: help, or a document. There is nobody to tell when it cannot be printed.
    pub(crate) fn text(self, text: &str) {
        drop(print(text));
    }

    /// A remark beside the answers, for people.
    pub(crate) fn remark(self, text: &str) {
        if !self.json {
            drop(writeln!(io::stderr().lock(), "{text}"));
        }
    }

    /// Says why a command failed, and gives the exit code for it.
    pub(crate) fn failure(self, failure: &Failure) -> Exit {
        // A reader that has seen enough, such as `head`, is not an error.
        if !failure.is_silent() {
            let text = if self.json { pretty(&Envelope { error: failure }) } else { Ok(failure.to_string()) };
            let text = text.unwrap_or_else(|broken| broken.to_string());
            drop(writeln!(io::stderr().lock(), "{}", text.trim_end()));
        }
        failure.exit()
    }
}

fn pretty(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::ours("the answer cannot be printed", &error))
}

/// Prints `text` as lines of its own. Each answer leaves at once, so that a pipe sees it when it happens.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(|error| Failure::unprinted(&error))
}

#[cfg(test)]
mod tests;
