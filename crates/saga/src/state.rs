//! Where a saga stands in the log, and what may follow: one pure, total function, used by whoever writes the log and by
//! whoever takes a saga up again.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a saga stands, as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Going forward, or finding out whether it can still turn back.
    Running,
    /// Turned back, durably: everything is being compensated.
    Compensating,
    /// Out of memory until a named time, or until a signal says that what it waits for has come.
    Waiting,
    /// Out of memory because a step needs eyes. Still retried, never called done.
    Parked,
    /// Out of memory because an operator said so.
    Paused,
    /// Every step is done.
    Completed,
    /// The first step refused: nothing else was ever sent.
    Refused,
    /// Everything is compensated.
    Compensated,
}

/// How a saga ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum End {
    /// Every step is done.
    Completed,
    /// The first step refused, and nothing else was ever sent.
    Refused,
    /// Everything is compensated.
    Compensated,
}

/// Which way a saga goes when it is taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Direction {
    /// From its first step.
    Forward,
    /// Asked to turn back, it was parked before the arbiter had agreed: it asks again.
    Turning,
    /// It has turned back, durably: the arbiter is not asked again.
    Backward,
    /// Asked to turn back from afar, it was past the pivot: it goes forward, without patience.
    Onward,
}

/// What the log is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A step is about to be tried for the second time or later.
    Attempted,
    /// Asked to turn back, it was past the pivot.
    Onward,
    /// It turned back.
    Compensating,
    /// It leaves memory until a named time.
    Waiting,
    /// It leaves memory because it needs eyes.
    Parked,
    /// An operator paused it.
    Paused,
    /// A driver has taken it up again, to go on in the direction that it had.
    Resumed(Direction),
    /// It ended.
    Finished(End),
}

/// An event that cannot follow: whoever wrote it does not know the present state, and must stop driving the saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot follow {status}")]
pub struct Illegal {
    /// Where the saga stands.
    pub status: Status,
    /// What was to be written.
    pub event: Event,
}

/// The status that follows. An event told twice changes nothing, so that a write whose answer was lost can be repeated.
///
/// # Errors
/// When the event cannot follow.
pub fn next(status: Status, event: Event) -> Result<Status, Illegal> {
    let illegal = Err(Illegal { status, event });
    match status {
        // ## RUNNING => itself | COMPENSATING | WAITING | PARKED | PAUSED | COMPLETED | REFUSED
        // It never ends COMPENSATED from here: the decision to turn back is durable first.
        Status::Running => match event {
            Event::Attempted
            | Event::Onward
            | Event::Resumed(Direction::Forward | Direction::Turning | Direction::Onward) => Ok(Status::Running),
            Event::Compensating => Ok(Status::Compensating),
            Event::Waiting => Ok(Status::Waiting),
            Event::Parked => Ok(Status::Parked),
            Event::Paused => Ok(Status::Paused),
            Event::Finished(End::Completed) => Ok(Status::Completed),
            Event::Finished(End::Refused) => Ok(Status::Refused),
            Event::Resumed(Direction::Backward) | Event::Finished(End::Compensated) => illegal,
        },
        // ## COMPENSATING => itself | PARKED | PAUSED | COMPENSATED
        // There is no way back to going forward, and nothing to wait for.
        Status::Compensating => match event {
            Event::Attempted | Event::Compensating | Event::Resumed(Direction::Backward) => Ok(Status::Compensating),
            Event::Parked => Ok(Status::Parked),
            Event::Paused => Ok(Status::Paused),
            Event::Finished(End::Compensated) => Ok(Status::Compensated),
            Event::Waiting
            | Event::Onward
            | Event::Resumed(Direction::Forward | Direction::Turning | Direction::Onward)
            | Event::Finished(End::Completed | End::Refused) => illegal,
        },
        // ## WAITING => itself | RUNNING | PARKED | PAUSED
        // Whatever comes next, a driver takes it up first. It parks when no driver can be made for it.
        Status::Waiting => match event {
            Event::Waiting => Ok(Status::Waiting),
            Event::Resumed(Direction::Forward | Direction::Turning | Direction::Onward) => Ok(Status::Running),
            Event::Parked => Ok(Status::Parked),
            Event::Paused => Ok(Status::Paused),
            Event::Attempted
            | Event::Onward
            | Event::Compensating
            | Event::Resumed(Direction::Backward)
            | Event::Finished(_) => illegal,
        },
        // ## PARKED, PAUSED => themselves | each other | RUNNING | COMPENSATING
        // It goes on in the direction that it had.
        Status::Parked | Status::Paused => match event {
            Event::Parked => Ok(Status::Parked),
            Event::Paused => Ok(Status::Paused),
            Event::Resumed(Direction::Forward | Direction::Turning | Direction::Onward) => Ok(Status::Running),
            Event::Resumed(Direction::Backward) => Ok(Status::Compensating),
            Event::Attempted | Event::Onward | Event::Compensating | Event::Waiting | Event::Finished(_) => illegal,
        },
        // ## COMPLETED, REFUSED, COMPENSATED => themselves
        Status::Completed | Status::Refused | Status::Compensated => match event {
            Event::Finished(end) if end.status() == status => Ok(status),
            _ => illegal,
        },
    }
}

// === impl Status ===

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::Compensating,
        Self::Waiting,
        Self::Parked,
        Self::Paused,
        Self::Completed,
        Self::Refused,
        Self::Compensated,
    ];

    /// The name that is stored and sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Compensating => "COMPENSATING",
            Self::Waiting => "WAITING",
            Self::Parked => "PARKED",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Refused => "REFUSED",
            Self::Compensated => "COMPENSATED",
        }
    }

    /// Whether nothing can follow.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Refused | Self::Compensated)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

// === impl Direction ===

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 4] = [Self::Forward, Self::Turning, Self::Backward, Self::Onward];

    /// The name that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "FORWARD",
            Self::Turning => "TURNING",
            Self::Backward => "BACKWARD",
            Self::Onward => "ONWARD",
        }
    }
}

impl FromStr for Direction {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|way| way.as_str() == text).ok_or(())
    }
}

// === impl End ===

impl End {
    /// The status it leads to.
    pub const fn status(self) -> Status {
        match self {
            Self::Completed => Status::Completed,
            Self::Refused => Status::Refused,
            Self::Compensated => Status::Compensated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 13] = [
        Event::Attempted,
        Event::Onward,
        Event::Compensating,
        Event::Waiting,
        Event::Parked,
        Event::Paused,
        Event::Resumed(Direction::Forward),
        Event::Resumed(Direction::Turning),
        Event::Resumed(Direction::Onward),
        Event::Resumed(Direction::Backward),
        Event::Finished(End::Completed),
        Event::Finished(End::Refused),
        Event::Finished(End::Compensated),
    ];

    /// A row a status, a column an event, in the order of `EVENTS`: the first letters of what follows, `.` where
    /// nothing may.
    const TABLE: [(Status, &str); 8] = [
        (Status::Running, "RU RU CG WA PK PS RU RU RU .  CO RE . "),
        (Status::Compensating, "CG .  CG .  PK PS .  .  .  CG .  .  CD"),
        (Status::Waiting, ".  .  .  WA PK PS RU RU RU .  .  .  . "),
        (Status::Parked, ".  .  .  .  PK PS RU RU RU CG .  .  . "),
        (Status::Paused, ".  .  .  .  PK PS RU RU RU CG .  .  . "),
        (Status::Completed, ".  .  .  .  .  .  .  .  .  .  CO .  . "),
        (Status::Refused, ".  .  .  .  .  .  .  .  .  .  .  RE . "),
        (Status::Compensated, ".  .  .  .  .  .  .  .  .  .  .  .  CD"),
    ];

    fn short(status: Status) -> &'static str {
        match status {
            Status::Running => "RU",
            Status::Compensating => "CG",
            Status::Waiting => "WA",
            Status::Parked => "PK",
            Status::Paused => "PS",
            Status::Completed => "CO",
            Status::Refused => "RE",
            Status::Compensated => "CD",
        }
    }

    #[test]
    fn every_status_meets_every_event_as_the_table_says() {
        for (status, row) in TABLE {
            let cells: Vec<_> = row.split_whitespace().collect();
            assert_eq!(cells.len(), EVENTS.len(), "{status}");
            for (event, cell) in EVENTS.into_iter().zip(cells) {
                let followed = next(status, event).map_or(".", short);
                assert_eq!(followed, cell, "{status} meets {event:?}");
            }
        }
    }

    #[test]
    fn an_event_told_twice_is_the_same_as_told_once() {
        for status in Status::ALL {
            for event in EVENTS {
                if let Ok(after) = next(status, event) {
                    assert_eq!(next(after, event), Ok(after), "{status} meets {event:?} twice");
                }
            }
        }
    }

    #[test]
    fn names_are_stored_and_read_alike() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        for way in Direction::ALL {
            assert_eq!(way.as_str().parse(), Ok(way));
            assert_eq!(serde_json::to_value(way).unwrap(), way.as_str());
        }
    }
}
