//! The task that makes and watches the shared connections.

use std::{
    sync::{PoisonError, RwLock, Weak, atomic::Ordering},
    time::Duration,
};

use deadpool_redis::{Connection, redis};
use futures_util::future::join_all;
use rand::Rng;

use super::Shared;

/// How often each connection is tried. A connection that broke is noticed by whoever uses it; this finds servers that
/// are frozen or cut off, and costs four commands a second.
const PING_INTERVAL: Duration = Duration::from_millis(250);
/// First pause after a failed attempt to connect.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause: a server that is back is in use again within about this time.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Runs until the last [`super::Redis`] is gone.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut pause = PAUSE_MIN;
    while let Some(shared) = shared.upgrade() {
        let up = look(&shared).await;
        shared.note(up);
        if up {
            pause = PAUSE_MIN;
            tokio::select! {
                () = shared.suspicion.notified() => {}
                () = tokio::time::sleep(PING_INTERVAL) => {}
            }
        } else {
            let jitter = rand::rng().random_range(0.5..1.0);
            drop(shared);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Tries each connection, replaces those that do not answer, and says whether there is one now.
async fn look(shared: &Shared) -> bool {
    let renew = shared.renew.swap(false, Ordering::Relaxed);
    join_all(shared.places.iter().map(|place| look_at(shared, place, renew))).await.contains(&true)
}

async fn look_at(shared: &Shared, place: &RwLock<Option<Connection>>, renew: bool) -> bool {
    let connection = place.read().unwrap_or_else(PoisonError::into_inner).as_deref().cloned();
    if let Some(mut connection) = connection {
        match redis::cmd("PING").query_async::<()>(&mut connection).await {
            Ok(()) if !renew => return true,
            Ok(()) => tracing::debug!("connection is replaced"),
            Err(error) => tracing::debug!(%error, "redis does not answer"),
        }
        // Taken out of the pool, so that nobody gets it again.
        let useless = place.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(useless.map(Connection::take));
    }
    match shared.connect().await {
        Ok(connection) => {
            *place.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
            true
        }
        Err(error) => {
            tracing::debug!(%error, "redis does not take a connection");
            false
        }
    }
}
