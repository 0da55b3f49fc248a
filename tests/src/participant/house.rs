//! A platform that can be stopped and killed: it has a runtime of its own, and a kill takes the runtime from under it.

use std::time::Duration;

use spillway::platform::Platform;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::{Books, Subject};
use crate::shop::{Shop, settings};

/// No warehouse but what scenarios open, and a slow provider that is slow to its neighbours, not to the suite.
const OVERRIDES: [(&str, &str); 2] = [("fulfilment.default_warehouse", "false"), ("payment.sandbox.slow_ms", "4")];
/// How long a killed platform's threads may take to end; each has only to come back from its present poll.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The invariant that every order has its saga. Here participants are called without one.
const SAGAS: &str = "I9";

/// Rows of state that were not told version by version, and events without a row.
const UNTOLD: &str = "
    with state_row (key, version) as ({rows})
    select key || ' is in version ' || version || ', and was told of otherwise' from state_row
     where (select count(*) || '/' || coalesce(max(sequence), 0) from outbox
             where topic = '{topic}' and outbox.key = state_row.key) <> version || '/' || version
    union all
    select key || ' was told of, and is not there' from outbox
     where topic = '{topic}' and key not in (select key from state_row)";

/// The platform with its directory.
#[derive(Debug)]
pub struct House {
    data: TempDir,
    running: Option<Running>,
    /// Clients of the platform as it runs now.
    pub shop: Shop,
}

/// A platform inside its runtime. Dropped, it is killed.
#[derive(Debug)]
struct Running {
    platform: Option<Platform>,
    runtime: Option<Runtime>,
}

// === impl House ===

impl House {
    /// A platform over an empty directory, with what `participant` needs.
    pub async fn open(participant: Subject) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (running, shop) = Running::start(&data).await;
        participant.prepare(&shop).await;
        Self { data, running: Some(running), shop }
    }

    /// Drains the platform, and starts it again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.up().await;
    }

    /// Takes the platform away in the midst of whatever it does, and starts it again.
    pub async fn kill(&mut self) {
        self.down().await;
        self.up().await;
    }

    /// Takes the platform away in the midst of whatever it does.
    pub async fn down(&mut self) {
        self.running.take().expect("it runs").kill().await;
    }

    /// Starts the platform again.
    pub async fn up(&mut self) {
        let (running, shop) = Running::start(&self.data).await;
        (self.running, self.shop) = (Some(running), shop);
    }

    /// Drains the platform and judges what it leaves behind.
    pub async fn close(mut self, participant: Subject) {
        self.stop().await;
        let problems = self.problems(participant.books()).await;
        assert!(problems.is_empty(), "the books disagree: {problems:#?}");
        let report = spillway::verify::run(self.data.path()).await.unwrap();
        let violated = report.checks.iter().filter(|check| !check.is_clean() && check.id != SAGAS);
        assert_eq!(violated.count(), 0, "{report}");
    }

    /// Removes the last event and the audit, as a service would that wrote them apart from the state.
    pub async fn tear(&mut self, books: Books) {
        self.stop().await;
        let options = SqliteConnectOptions::new().filename(self.data.path().join(books.file));
        let mut connection = options.disable_statement_logging().connect().await.unwrap();
        let event = "delete from outbox where position = (select max(position) from outbox)";
        // The order's audit is guarded against just this.
        let guard = "drop trigger if exists order_event_delete_tr";
        let audit = format!("delete from {}", books.audit);
        for sql in [event, guard, &audit] {
            sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        }
    }

    /// For how many orders the participant holds something.
    pub async fn held(&self, participant: Subject) -> i64 {
        let books = participant.books();
        let mut connection = self.connect(books.file).await;
        sqlx::query_scalar(books.held).fetch_one(&mut connection).await.unwrap()
    }

    /// Where state, audit and events disagree; nowhere, if they are one transaction.
    pub async fn problems(&self, books: Books) -> Vec<String> {
        let mut connection = self.connect(books.file).await;
        let untold = UNTOLD.replace("{rows}", books.rows).replace("{topic}", books.topic);
        let mut problems = Vec::new();
        for sql in [untold, books.unaccounted.to_owned()] {
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
            problems.extend(rows.iter().map(|row| row.get::<String, _>(0)));
        }
        problems
    }

    async fn stop(&mut self) {
        self.running.take().expect("it runs").stop().await;
    }

    async fn connect(&self, file: &str) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.data.path().join(file)).read_only(true);
        options.disable_statement_logging().connect().await.unwrap()
    }
}

// === impl Running ===

impl Running {
    async fn start(data: &TempDir) -> (Self, Shop) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let settings = settings(data.path(), &OVERRIDES);
        let client = settings.client.clone();
        let handle = runtime.handle().clone();
        let platform = tokio::task::spawn_blocking(move || handle.block_on(Platform::start(settings))).await;
        let platform = platform.unwrap().unwrap_or_else(|error| panic!("{error}"));
        let shop = Shop::at(platform.addresses(), &client);
        (Self { platform: Some(platform), runtime: Some(runtime) }, shop)
    }

    async fn stop(mut self) {
        if let (Some(platform), Some(runtime)) = (self.platform.take(), &self.runtime) {
            runtime.spawn(platform.stop()).await.unwrap().unwrap();
        }
        self.kill().await;
    }

    async fn kill(mut self) {
        let runtime = self.runtime.take().expect("it has one until it is dropped");
        // The runtime goes first: a platform that is dropped would still end in good order.
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(KILL_LIMIT)).await.unwrap();
        drop(self.platform.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be waited for inside another.
            runtime.shutdown_background();
        }
    }
}
