//! Databases for the suite, fresh for each test.

use std::fmt;

use spillway_saga::state::Direction;
use spillway_storage::{
    Resources,
    database::{Database, DatabaseUrl},
    group_commit::Limits,
    postgres,
};
use spillway_testkit::servers;
use spillway_types::id::Partition;
use tempfile::TempDir;
use uuid::Uuid;

use crate::store::{Opened, SCHEMA, SagaId, SagaRow, Timestamp, open};

pub(super) const LIMITS: Limits = Limits { batch_max: 64, queue_max: 4_096 };

/// One database, to be opened again and again.
pub(super) struct House {
    url: DatabaseUrl,
    resources: Resources,
    _directory: TempDir,
}

/// The `n`-th saga; its partition is `n`, modulo 4.
pub(super) fn id_in(n: u8) -> SagaId {
    let mut bytes = [0x80; 16];
    (bytes[9], bytes[15]) = (n % 4, n);
    SagaId(Uuid::from_bytes(bytes))
}

pub(super) fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_795_219_199_000_000 + seconds * 1_000_000)
}

/// A saga at its start.
pub(super) fn row(id: SagaId, key: &str) -> SagaRow {
    SagaRow {
        id,
        key: key.to_owned(),
        fingerprint: b"1:fingerprint".to_vec(),
        definition: "place_order".to_owned(),
        version: 1,
        input: r#"{"name":"Łódź \u0000"}"#.to_owned(),
        status: spillway_saga::Status::Running,
        direction: Direction::Forward,
        cause: None,
        parked: None,
        journal: None,
        epoch: 0,
        attempts: Vec::new(),
        drives: 0,
        created: moment(0),
        updated: moment(0),
        wakeup: None,
    }
}

// === impl House ===

impl House {
    /// One of every kind.
    pub(super) async fn each() -> Vec<Self> {
        vec![Self::new("sqlite:"), Self::on_postgres().await]
    }

    /// One that replicas can share.
    pub(super) async fn on_postgres() -> Self {
        Self::new(&servers::postgres().await.fresh("orchestrator").await)
    }

    fn new(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let resources = Resources::in_directory(directory.path());
        Self { url: url.parse().unwrap(), resources, _directory: directory }
    }

    pub(super) async fn open(&self) -> Opened {
        open(&self.url, LIMITS, &self.resources).await.unwrap()
    }

    /// Takes a partition for a new holder, where there are holders, and answers the epoch under which it may write.
    pub(super) async fn take(&self, partition: Partition) -> i64 {
        let Some(database) = self.server().await else { return 1 };
        let mut connection = database.connect("test").await.unwrap();
        sqlx::query_scalar("update lease set epoch = epoch + 1 where partition = $1 returning epoch")
            .bind(i16::from(partition.0))
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    pub(super) async fn server(&self) -> Option<postgres::Database> {
        if matches!(self.url, DatabaseUrl::Sqlite(_)) {
            return None;
        }
        match Database::open(&self.url, &self.resources.data, &SCHEMA).await.unwrap() {
            Database::Sqlite(_) => None,
            Database::Postgres(database) => Some(database),
        }
    }
}

impl fmt::Display for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}
