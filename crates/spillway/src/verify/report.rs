//! What was found, for people and for machines.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use spillway_types::{Money, Timestamp};

use super::snapshot::Copied;

/// What a look at the databases has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Every check, by invariant.
    pub checks: Vec<Checked>,
    /// What is no violation, but worth knowing.
    pub notes: Vec<String>,
    /// The databases on servers that were read; none where the platform keeps files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Read>,
    /// What there is.
    pub totals: Totals,
}

/// What one check has found.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The invariant, such as `I1`; `files` for the files themselves.
    pub id: &'static str,
    /// The check's own name, for machines: several may share an invariant.
    pub name: &'static str,
    /// What must be true.
    pub title: &'static str,
    /// What was looked at, in the plural.
    pub about: &'static str,
    /// How many of these were judged.
    pub looked_at: u64,
    /// How many rows should not be.
    pub violated: u64,
    /// The first of those rows.
    pub violations: Vec<Violation>,
}

/// A database on a server, of which a snapshot was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Where it is.
    pub address: String,
    /// The moment of the snapshot, by the clock of the server.
    pub as_of: Timestamp,
    /// How many rows were read.
    pub rows: u64,
}

/// A row that should not be: names and values of its columns, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub Vec<(String, Value)>);

/// What there is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Orders by state.
    pub orders: BTreeMap<String, u64>,
    /// Sagas by status.
    pub sagas: BTreeMap<String, u64>,
    /// Units sold, of all items.
    pub units_sold: u64,
    /// Money and points taken, by currency.
    pub captured: Vec<Money>,
    /// What of that was given back, by currency.
    pub refunded: Vec<Money>,
}

/// Width of the first column.
const ID: usize = 6;
/// Width of the second; no title is longer.
pub(super) const TITLE: usize = 60;

// === impl Report ===

impl Report {
    /// Whether nothing is as it should not be.
    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(Checked::is_clean)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        for Read { address, as_of, rows } in &self.read {
            writeln!(f, "read   {rows} rows of {address} as of {as_of}")?;
        }
        for note in &self.notes {
            writeln!(f, "note   {note}")?;
        }
        writeln!(f, "{}", self.totals)?;
        let broken = self.checks.iter().filter(|check| !check.is_clean()).count();
        match broken {
            0 => write!(f, "{} checks, no violation", self.checks.len()),
            _ => write!(f, "{} checks, {broken} VIOLATED", self.checks.len()),
        }
    }
}

// === impl Read ===

impl From<&Copied> for Read {
    fn from(copied: &Copied) -> Self {
        Self { address: copied.address.clone(), as_of: copied.as_of, rows: copied.rows }
    }
}

// === impl Checked ===

impl Checked {
    /// Whether it found nothing.
    pub const fn is_clean(&self) -> bool {
        self.violated == 0
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name: _, title, about, looked_at, violated, violations } = self;
        write!(f, "{id:<ID$} {title:<TITLE$} ")?;
        if *violated == 0 {
            return match looked_at {
                0 => write!(f, "nothing to judge: no {about}"),
                _ => write!(f, "ok        {looked_at:>8} {about}"),
            };
        }
        write!(f, "VIOLATED  {violated:>8} rows, {looked_at} {about}")?;
        for violation in violations {
            write!(f, "\n{:ID$}   {violation}", "")?;
        }
        match violated.saturating_sub(u64::try_from(violations.len()).unwrap_or(u64::MAX)) {
            0 => Ok(()),
            more => write!(f, "\n{:ID$}   and {more} more", ""),
        }
    }
}

// === impl Violation ===

impl Violation {
    /// The value of a column.
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            match value {
                Value::Null => write!(f, "{gap}{name}: none")?,
                Value::String(text) => write!(f, "{gap}{name}: {text}")?,
                other => write!(f, "{gap}{name}: {other}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

// === impl Totals ===

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |counts: &BTreeMap<String, u64>| match counts.is_empty() {
            true => "none".to_owned(),
            false => counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", "),
        };
        let money = |amounts: &[Money]| match amounts.is_empty() {
            true => "nothing".to_owned(),
            false => amounts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        writeln!(f, "orders {}; sagas {}", named(&self.orders), named(&self.sagas))?;
        let Self { units_sold, captured, refunded, .. } = self;
        write!(f, "sold   {units_sold} units; captured {}; refunded {}", money(captured), money(refunded))
    }
}
