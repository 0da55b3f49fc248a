//! What records and signals do to a row: the one place that knows, whatever the log is made of.

use spillway_types::Timestamp;

use super::{Due, LogError, Record, SagaRow, Signal};
use crate::state::{Direction, End, Event, Status, next};

/// The wake-up of a saga that somebody left word for: whatever the clocks of those concerned say, it has come.
pub const AT_ONCE: Timestamp = Timestamp::from_micros(0);

// === impl SagaRow ===

impl SagaRow {
    /// Applies a record that was written under `epoch`.
    ///
    /// # Errors
    /// When somebody has written under a later epoch, or the record cannot follow where the saga stands; the row is as it
    /// was then.
    pub fn apply(&mut self, epoch: i64, record: Record, at: Timestamp) -> Result<(), LogError> {
        if epoch < self.epoch {
            return Err(LogError::Fenced(self.id));
        }
        let status = next(self.status, record.event())?;
        match record {
            Record::Resumed { direction, drive } => self.resume(epoch, direction, drive)?,
            Record::Attempt(attempt) => {
                self.attempts.retain(|known| (&known.step, known.call) != (&attempt.step, attempt.call));
                self.attempts.push(attempt);
            }
            Record::Onward => {
                self.direction = Direction::Onward;
                self.cause = None;
                self.wakeup = None;
            }
            Record::Compensating { cause } => {
                self.direction = Direction::Backward;
                self.cause = Some(cause);
                self.wakeup = None;
            }
            // Word that came while it was driven may not have been heard.
            Record::Waiting { due } => self.wakeup = Some(if self.has_word() { AT_ONCE } else { due }),
            Record::Parked { reason, wakeup, turning } => {
                let is_unheard = self.has_word() && (turning.is_none() || self.status == Status::Parked);
                self.parked = Some(reason);
                self.wakeup = Some(if is_unheard { AT_ONCE } else { wakeup });
                if let Some(cause) = turning {
                    self.direction = Direction::Turning;
                    self.cause = Some(cause);
                }
            }
            Record::Finished { end, cause, journal } => {
                self.cause = match end {
                    End::Completed => None,
                    End::Refused => cause,
                    End::Compensated => self.cause.take(),
                };
                self.wakeup = None;
                self.journal = Some(journal);
            }
        }
        self.status = status;
        self.updated = at;
        Ok(())
    }

    /// Takes in what somebody asks for who need not drive the saga. Says whether that changed anything: a finished saga,
    /// and one that is asked for what it does already, stay as they are.
    pub fn tell(&mut self, signal: &Signal) -> bool {
        if self.status.is_final() {
            return false;
        }
        if let (Signal::TurnBack(cause), Direction::Forward) = (signal, self.direction) {
            self.direction = Direction::Turning;
            self.cause = Some(cause.clone());
            self.wakeup = Some(AT_ONCE);
            return true;
        }
        let may_wake = match self.status {
            Status::Waiting | Status::Parked => true,
            Status::Paused => matches!(signal, Signal::TurnBack(_)),
            // Its driver is at it.
            _ => false,
        };
        if may_wake {
            self.wakeup = Some(AT_ONCE);
        }
        may_wake
    }

    /// Whether somebody has left word that its driver may not have heard.
    pub fn has_word(&self) -> bool {
        !self.status.is_final() && self.wakeup == Some(AT_ONCE)
    }

    /// Whether nothing will happen to it before its wake-up, or ever.
    pub fn is_at_rest(&self) -> bool {
        match self.status {
            Status::Running | Status::Compensating => false,
            Status::Waiting | Status::Parked | Status::Paused => !self.has_word(),
            Status::Completed | Status::Refused | Status::Compensated => true,
        }
    }

    fn resume(&mut self, epoch: i64, direction: Direction, drive: u32) -> Result<(), LogError> {
        // Somebody may have asked it to turn back just now; that is heard soon.
        let is_unheard = direction == Direction::Forward && self.direction == Direction::Turning && self.has_word();
        let is_known = direction == self.direction || is_unheard;
        let is_next = self.drives.checked_add(1) == Some(drive);
        let is_repeat = self.drives == drive && self.epoch == epoch;
        if !is_known || !(is_next || is_repeat) {
            return Err(LogError::Fenced(self.id));
        }
        self.parked = None;
        self.wakeup = is_unheard.then_some(AT_ONCE);
        (self.drives, self.epoch) = (drive, epoch);
        Ok(())
    }
}

// === impl Record ===

impl Record {
    /// What it means to the state machine.
    pub const fn event(&self) -> Event {
        match self {
            Self::Attempt(_) => Event::Attempted,
            Self::Compensating { .. } => Event::Compensating,
            Self::Waiting { .. } => Event::Waiting,
            Self::Parked { .. } => Event::Parked,
            Self::Resumed { direction, .. } => Event::Resumed(*direction),
            Self::Onward => Event::Onward,
            Self::Finished { end, .. } => Event::Finished(*end),
        }
    }
}

// === impl Due ===

impl Due {
    /// Whether a row is among those asked for, the page aside.
    pub fn includes(&self, row: &SagaRow) -> bool {
        if self.partitions.as_ref().is_some_and(|those| !those.contains(&row.id.partition())) {
            return false;
        }
        let has_come = row.wakeup.is_some_and(|wakeup| wakeup <= self.waiting_until);
        match row.status {
            Status::Running | Status::Compensating => {
                has_come || self.quiet_since.is_some_and(|since| row.updated <= since)
            }
            Status::Waiting | Status::Paused => has_come,
            Status::Parked => has_come || row.wakeup.is_some_and(|wakeup| wakeup <= self.parked_until),
            Status::Completed | Status::Refused | Status::Compensated => false,
        }
    }
}
