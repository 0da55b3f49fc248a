//! Postgres databases, each as it was at one moment, copied into files that the checks' statements can read.
//!
//! A transaction of each database is begun, and takes its snapshot, before the first row of any is copied: so the
//! snapshots are of one moment but for milliseconds, however long copying takes. They read only, take no locks that
//! anybody waits for, and a role that may do nothing but `select` suffices. The files have the services' own SQLite
//! schema and live in a temporary directory, of about the databases' size, for as long as they are judged.

mod copy;
mod reading;

use std::path::{Path, PathBuf};

use futures_util::future::try_join_all;
use spillway_types::Timestamp;
use tempfile::TempDir;

use super::{
    VerifyError,
    places::{Place, Places},
};
use reading::Reading;

/// The databases at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    directory: TempDir,
    databases: Vec<Copied>,
}

/// What was copied of a database.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub(super) schema: &'static str,
    /// Where it is, without its password.
    pub(super) address: String,
    /// By the clock of its server.
    pub(super) as_of: Timestamp,
    pub(super) rows: u64,
    /// Rules of its schema that do not hold: indexes and constraints that the server itself calls invalid.
    pub(super) unsound: Vec<String>,
}

// === impl Snapshot ===

impl Snapshot {
    /// Takes a snapshot of the Postgres databases among `places`.
    pub(super) async fn take(places: &Places) -> Result<Self, VerifyError> {
        let directory = tempfile::tempdir().map_err(VerifyError::Scratch)?;
        let begun = places.all.iter().map(|place| Reading::begin(place, &places.data));
        let readings: Vec<_> = try_join_all(begun).await?.into_iter().flatten().collect();
        let copies = readings.into_iter().map(|reading| {
            let file = directory.path().join(reading.place().tables.file);
            reading.copy(file)
        });
        let databases = try_join_all(copies).await?;
        Ok(Self { directory, databases })
    }

    /// The file of a database, if it was copied.
    pub(super) fn file(&self, place: &Place) -> Option<PathBuf> {
        self.of(place).map(|_| self.path().join(place.tables.file))
    }

    /// What was copied of a database, if anything was.
    pub(super) fn of(&self, place: &Place) -> Option<&Copied> {
        self.databases.iter().find(|copied| copied.schema == place.schema)
    }

    /// What was copied.
    pub(super) fn databases(&self) -> &[Copied] {
        &self.databases
    }

    /// The moment: the earliest, so that what is at rest by it is so in all of them.
    pub(super) fn as_of(&self) -> Option<Timestamp> {
        self.databases.iter().map(|copied| copied.as_of).min()
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}
