//! The invariants, judged over the platform's databases: what `spillway verify` prints, what the tests ask at their end,
//! and what an audit of a running platform asks. It only reads, and works while the platform runs and when it is stopped.
//!
//! | module | judges |
//! |---|---|
//! | `ledger` | I1, I2, I5, I11, I14: balances, the journal, each promise's one end, nothing oversold |
//! | `orders` | I3, I11, I15, I16: paid and cancelled orders, the audit trail, prices |
//! | `payments` | I3, I4, I5, I11: money taken and given back, also as the provider has it |
//! | `wallets` | I17: points and coupons are conserved |
//! | `fulfilment` | I2, I3, I5, I11: plans, parcels, what a warehouse has to send |
//! | `sagas` | I5, I7, I9, I10: one saga a key, one outcome, nothing undone out of turn |
//! | `events` | I6, I15: what was written was told, and taken once |
//!
//! A check is one SQL statement that gives the rows which should not be. Statements over one file judge every row: a
//! statement sees one snapshot of a file, and each file is consistent at every commit. Files are no snapshot of each
//! other, so a statement across files judges only what is at rest (its saga ended, or its row last changed, a moment
//! ago; where something has just ended, that moment is waited for), and what it finds counts only if it is found again:
//! it looks [`Options::looks`] times at the most, with [`Options::pause`] between, and reports what every look has found.
//!
//! Of databases in Postgres it copies snapshots of one moment into such files, and judges those by the same statements;
//! another look takes new ones. Events come there over a bus that may be away for a while, so one that was published and
//! not taken is judged only when it has had `STUCK_AFTER` to come.
//!
//! A check that had nothing to judge says so: that is no proof.

mod check;
mod database;
mod events;
mod fulfilment;
mod ledger;
mod orders;
mod payments;
mod places;
mod report;
mod sagas;
mod snapshot;
mod survey;
#[cfg(test)]
mod tests;
mod wallets;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use spillway_storage::StoreError;
use spillway_types::Timestamp;

use self::{
    check::{Check, Scope},
    database::{Databases, Found},
};
pub use self::{
    places::Places,
    report::{Checked, Read, Report, Totals, Violation},
};

/// How long a saga may go without a word before it counts as stuck (invariant I7).
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// How far back effects are compared with idempotency records: a day less than those are kept, so that a record which is
/// just being removed is not missed.
const RECORDS_KEPT: Duration = Duration::from_secs(29 * 24 * 60 * 60);
/// What has written something within the time that makes for rest.
const JUST_NOW: &str = "select count(*) from orchestrator.saga where updated > (select quiet_since from moment)";

/// How patiently to look, and how much to report.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Times that a check across files looks, at the most; what it finds counts when each of them has found it.
    pub looks: u32,
    /// Time between two looks: longer than a saga takes to get from one file to the next.
    pub pause: Duration,
    /// How long ago a row must have changed to be at rest.
    pub quiet: Duration,
    /// Rows that are kept of each violated check; the rest is counted.
    pub rows_max: usize,
}

/// Why the databases could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is no data directory, or not all of one.
    #[error("there is no {}: name the directory of the platform's databases with --data-dir", .0.display())]
    Missing(PathBuf),
    /// A path that cannot be given to SQLite.
    #[error("the path {} is not UTF-8", .0.display())]
    Path(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// There is no room for copies of what is on servers.
    #[error("cannot make a temporary directory: {0}")]
    Scratch(io::Error),
    /// The files for those copies cannot be made.
    #[error("cannot make a file to copy a database into: {0}")]
    Template(Box<StoreError>),
    /// A server does not let us in.
    #[error("cannot read {address}: {source}")]
    Unreachable {
        /// Which database.
        address: String,
        /// Why.
        source: Box<StoreError>,
    },
    /// A server does not let us read.
    #[error("cannot read {address}: {source}")]
    Server {
        /// Which database.
        address: String,
        /// What it says.
        source: sqlx::Error,
    },
    /// A database is of another version, or was never migrated.
    #[error("{address} has no {what}: start the services once, or run them with --migrate")]
    Lacks {
        /// Which database.
        address: String,
        /// Table and column.
        what: String,
    },
    /// A statement failed: the files are of another version, or damaged.
    #[error("cannot judge \"{what}\": {source}")]
    Statement {
        /// What was to be judged or counted.
        what: &'static str,
        /// What SQLite says.
        source: sqlx::Error,
    },
}

/// What the looks at one check have found so far.
struct Finding {
    check: &'static Check,
    looked_at: u64,
    found: Found,
}

/// Judges the files in `data`.
///
/// # Errors
/// When there are none, or they cannot be read. A violation is no error but part of the report.
pub async fn run(data: &Path) -> Result<Report, VerifyError> {
    run_with(data, &Options::default()).await
}

/// Judges the files in `data`, as patiently as `options` say.
///
/// # Errors
/// As [`run`]'s.
pub async fn run_with(data: &Path, options: &Options) -> Result<Report, VerifyError> {
    run_on(Places::in_directory(data), options).await
}

/// Judges the databases at `places`, as patiently as `options` say.
///
/// # Errors
/// As [`run`]'s.
pub async fn run_on(places: Places, options: &Options) -> Result<Report, VerifyError> {
    let mut databases = Databases::open(places).await?;
    let soundness = databases.soundness(options.rows_max).await?;
    let is_sound = soundness.is_clean();
    let mut report = Report { checks: vec![soundness], ..Report::default() };
    match judge(databases, options, &mut report).await {
        // What is damaged cannot always be read; that it is damaged is the finding.
        Err(error) if !is_sound => report.notes.push(format!("the rest was not judged: {error}")),
        judged => judged?,
    }
    Ok(report)
}

/// Makes every check, looking again where it takes that.
async fn judge(mut databases: Databases, options: &Options, report: &mut Report) -> Result<(), VerifyError> {
    databases.set_moment(&Moment::of(&databases, options)).await?;
    if databases.count("sagas that ended just now", JUST_NOW).await? > 0 {
        // What ended a moment before we were called is to be judged, too.
        databases = look_again(databases, options.quiet, options).await?;
    }
    let mut findings = Vec::new();
    for check in all() {
        findings.push(Finding::first(&mut databases, check, options).await?);
    }
    // What is told of was seen by the first look; the others only confirm.
    report.read = databases.copied().iter().map(Read::from).collect();
    report.notes = survey::notes(&mut databases, options.rows_max).await?;
    report.totals = survey::totals(&mut databases).await?;
    for _ in 1..options.looks {
        if !findings.iter().any(Finding::is_doubtful) {
            break;
        }
        databases = look_again(databases, options.pause, options).await?;
        for finding in findings.iter_mut().filter(|finding| finding.is_doubtful()) {
            let again = databases.find(finding.check, Some(&finding.found.subjects), options.rows_max).await?;
            finding.found = again;
        }
    }
    report.checks.extend(findings.into_iter().map(Checked::from));
    Ok(())
}

/// The databases as they are after `pause`.
async fn look_again(databases: Databases, pause: Duration, options: &Options) -> Result<Databases, VerifyError> {
    tokio::time::sleep(pause).await;
    let mut databases = databases.again().await?;
    databases.set_moment(&Moment::of(&databases, options)).await?;
    Ok(databases)
}

/// Whether any statement looks at a table: the rest need not be copied.
fn mentioned(schema: &str, table: &str) -> bool {
    let name = format!("{schema}.{table}");
    let in_statement = |sql: &str| {
        let goes_on = |at: usize| sql[at..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        sql.match_indices(&name).any(|(at, found)| !goes_on(at + found.len()))
    };
    let of_checks = all().into_iter().flat_map(|check| [check.count, check.violations]);
    let others = [JUST_NOW, database::SCRATCH].into_iter().chain(survey::statements());
    of_checks.chain(others).any(in_statement)
}

/// Every check, by the number of its invariant.
fn all() -> Vec<&'static Check> {
    let modules = [
        ledger::CHECKS,
        orders::CHECKS,
        payments::CHECKS,
        wallets::CHECKS,
        fulfilment::CHECKS,
        sagas::CHECKS,
        events::CHECKS,
    ];
    let mut checks: Vec<_> = modules.into_iter().flatten().collect();
    checks.sort_by_key(|check| check.number());
    checks
}

/// The moments that statements compare with.
struct Moment {
    /// What changed later is not at rest.
    quiet_since: Timestamp,
    /// Of what was published later, not everybody has heard yet.
    told_since: Timestamp,
    /// A saga that wrote nothing since then is stuck.
    stuck_since: Timestamp,
    /// What happened since then must have its idempotency record.
    kept_since: Timestamp,
}

// === impl Moment ===

impl Moment {
    fn of(databases: &Databases, options: &Options) -> Self {
        let now = databases.now();
        let ago = |time: Duration| {
            let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(now.as_micros().saturating_sub(micros))
        };
        // In one process what is published was taken; between processes it is on its way for a while.
        let told = if databases.copied().is_empty() { options.quiet } else { STUCK_AFTER };
        Self {
            quiet_since: ago(options.quiet),
            told_since: ago(told),
            stuck_since: ago(STUCK_AFTER),
            kept_since: ago(RECORDS_KEPT),
        }
    }
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self { looks: 3, pause: Duration::from_millis(500), quiet: Duration::from_secs(1), rows_max: 20 }
    }
}

// === impl Finding ===

impl Finding {
    async fn first(databases: &mut Databases, check: &'static Check, options: &Options) -> Result<Self, VerifyError> {
        if check.scope == Scope::Provider && !databases.has_provider() {
            return Ok(Self { check, looked_at: 0, found: Found::default() });
        }
        let looked_at = databases.count(check.title, check.count).await?;
        let found = databases.find(check, None, options.rows_max).await?;
        Ok(Self { check, looked_at, found })
    }

    /// Whether another look may clear it.
    fn is_doubtful(&self) -> bool {
        self.found.total > 0 && self.check.scope != Scope::Within
    }
}

impl From<Finding> for Checked {
    fn from(Finding { check, looked_at, found }: Finding) -> Self {
        Self {
            id: check.id,
            name: check.name,
            title: check.title,
            about: check.about,
            looked_at,
            violated: found.total,
            violations: found.rows,
        }
    }
}

/// Subjects that an earlier look has found.
type Suspects = HashSet<String>;
