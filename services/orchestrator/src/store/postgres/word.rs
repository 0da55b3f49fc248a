//! Word between replicas: somebody has left something in the log for whoever drives a saga.
//!
//! `NOTIFY` says so, after the word is durable and in a transaction of its own, since a commit that notifies takes a lock
//! of the whole server. It carries nothing: owners look for themselves, and they look twice a second anyway, so one that
//! gets lost costs half a second.

use std::{sync::Arc, time::Duration};

use spillway_storage::postgres::Database;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The channel. Names are a database's own, so other services cannot be overheard.
const CHANNEL: &str = "saga_word";
/// How long the server may take to take a connection or a notification.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How long a connection may be silent before it is made anew: a peer that was cut off says nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Pause before connecting again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Where word arrives.
#[derive(Clone, Debug, Default)]
pub(super) struct Ear(Arc<Notify>);

/// What listens.
#[derive(Debug)]
pub struct Listener {
    database: Database,
    ear: Ear,
}

pub(super) fn open(database: Database) -> (Ear, Listener) {
    let ear = Ear::default();
    (ear.clone(), Listener { database, ear })
}

/// Tells every replica that there is word.
pub(super) async fn tell(database: &Database) {
    let telling = sqlx::query("select pg_notify($1, '')").bind(CHANNEL).execute(database.readers());
    match timeout(ANSWER_WAIT, telling).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "word could not be announced"),
        Err(_) => tracing::debug!("word could not be announced in time"),
    }
}

// === impl Ear ===

impl Ear {
    /// Returns once there is word, also when it came before this was called.
    pub(super) async fn heard(&self) {
        self.0.notified().await;
    }
}

// === impl Listener ===

impl Listener {
    /// Listens until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.listen() => {}
        }
    }

    async fn listen(&self) {
        loop {
            if let Err(error) = self.listen_on_one_connection().await {
                tracing::debug!(%error, "not listening for word from other replicas");
            }
            // What was said meanwhile was not heard.
            self.ear.0.notify_one();
            sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn listen_on_one_connection(&self) -> Result<(), sqlx::Error> {
        let options = self.database.options().clone().application_name("spillway word");
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ANSWER_WAIT).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        loop {
            match timeout(SILENCE_MAX, listener.try_recv()).await {
                Ok(Ok(Some(_))) => self.ear.0.notify_one(),
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}
