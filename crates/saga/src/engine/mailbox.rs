//! What a driver is told from outside. Three facts at most, so it needs no queue and no bound.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::context::Cause;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Somebody asked to turn back; the first cause counts.
    pub(super) turn_back: Option<Cause>,
    /// The asking was left in the log, by somebody far away.
    pub(super) is_from_afar: bool,
    /// Somebody says that it may be worth looking again.
    pub(super) woken: bool,
}

// === impl Mailbox ===

impl Mailbox {
    /// Asks to turn back, or to look again.
    pub(super) fn post(&self, turn_back: Option<Cause>) {
        let mut mail = self.lock();
        match turn_back {
            Some(cause) => _ = mail.turn_back.get_or_insert(cause),
            None => mail.woken = true,
        }
        drop(mail);
        self.arrived.notify_one();
    }

    /// Passes on what somebody left in the log.
    pub(super) fn post_from_afar(&self, turn_back: Cause) {
        self.lock().is_from_afar = true;
        self.post(Some(turn_back));
    }

    pub(super) fn take(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    pub(super) fn is_empty(&self) -> bool {
        let mail = self.lock();
        mail.turn_back.is_none() && !mail.woken
    }

    /// Returns when something has arrived since this was last awaited.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
