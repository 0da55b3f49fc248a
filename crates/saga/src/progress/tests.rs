//! Whatever is answered, in whatever order, and however stray: the rules of going forward and turning back hold, and a
//! saga whose participants answer at last comes to its end.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;
use spillway_types::Reason;

use super::*;
use crate::{plan::Draft, policy::StepPolicy};

const ARBITER: usize = 2;
const PIVOT: usize = 4;
const PARK_AFTER: u32 = 3;
/// More turns than the longest way to the end.
const TURNS: usize = 200;

fn plan() -> Plan {
    let line =
        |name, kind, after: &[&'static str]| Draft { name, kind, policy: StepPolicy::default(), after: after.to_vec() };
    let drafts = vec![
        line("reserve", Kind::Compensatable, &[]),
        line("create", Kind::Compensatable, &["reserve"]),
        line("authorise", Kind::Compensatable, &["create"]),
        line("plan", Kind::Compensatable, &["create"]),
        line("capture", Kind::Pivot, &["authorise", "plan"]),
        line("confirm", Kind::Retriable, &["capture"]),
        line("dispatch", Kind::Retriable, &["confirm"]),
    ];
    Plan::new(drafts, Some("authorise"), &["confirm"]).unwrap()
}

fn fault() -> Fault {
    Fault::new(Reason::PaymentDeclined, "declined")
}

/// One answer to whatever is in flight, as random as it gets.
#[derive(Clone, Debug)]
enum Reply {
    Good,
    Refused,
    Pending {
        secs: u64,
    },
    Unknown {
        permanent: bool,
    },
    PivotPassed,
    Stands,
    Request,
    Wake,
    /// An answer to something that was perhaps never asked.
    Stray(usize, Box<Reply>),
}

fn reply() -> impl Strategy<Value = Reply> {
    let plain = prop_oneof![
        6 => Just(Reply::Good),
        2 => Just(Reply::Refused),
        1 => (0_u64..9).prop_map(|secs| Reply::Pending { secs }),
        3 => any::<bool>().prop_map(|permanent| Reply::Unknown { permanent }),
        1 => Just(Reply::PivotPassed),
        1 => Just(Reply::Stands),
        1 => Just(Reply::Request),
        1 => Just(Reply::Wake),
    ];
    plain.prop_recursive(1, 2, 1, |plain| {
        (0..7_usize, plain).prop_map(|(step, reply)| Reply::Stray(step, Box::new(reply)))
    })
}

/// Plays the driver, and watches the rules.
struct Game {
    plan: Plan,
    progress: Progress,
    now: Timestamp,
    in_flight: Vec<Todo>,
    undone: HashSet<usize>,
    is_decided: bool,
    has_passed: bool,
    end: Option<End>,
}

// === impl Game ===

impl Game {
    fn new() -> Self {
        let plan = plan();
        let progress = Progress::new(&plan, PARK_AFTER);
        let (in_flight, undone) = (Vec::new(), HashSet::new());
        let now = Timestamp::from_micros(0);
        Self { plan, progress, now, in_flight, undone, is_decided: false, has_passed: false, end: None }
    }

    fn apply(&mut self, event: Event) {
        let before = self.progress.course();
        self.progress.apply(&self.plan, event);
        if before == Course::Forward && matches!(self.progress.course(), Course::Deciding | Course::Refused) {
            self.in_flight.clear();
        }
        self.has_passed |= self.progress.course() == Course::ForwardOnly;
    }

    fn turn(&mut self, reply: &Reply) {
        match self.progress.todo(&self.plan, self.now) {
            Next::Write(write) => {
                if let Write::Finished(end) = write {
                    self.end = Some(end);
                }
                self.is_decided |= write == Write::Compensating;
                self.apply(Event::Logged(write));
            }
            Next::Call(calls) => {
                for call in calls {
                    self.watch(call);
                    self.in_flight.push(call);
                    self.apply(Event::Sent { call, now: self.now });
                }
            }
            Next::Wait(until) => {
                if self.in_flight.is_empty() {
                    self.now = until.expect("it waits for something");
                } else {
                    self.answer(reply);
                }
            }
            Next::Leave => self.apply(Event::Stay),
            Next::End => assert!(self.end.is_some()),
        }
    }

    fn watch(&self, call: Todo) {
        let planned = &self.plan.steps[call.step];
        match call.kind {
            CallKind::Run => {
                assert!(!self.is_decided, "{} is run after turning back", planned.name);
                assert_ne!(self.progress.course(), Course::Deciding, "{} is run while that is open", planned.name);
            }
            CallKind::Compensate => {
                assert!(!self.has_passed, "{} is compensated past the pivot", planned.name);
                assert!(
                    self.is_decided || call.step == ARBITER,
                    "{} is compensated before that is durable",
                    planned.name
                );
                let is_undone = |later: &usize| *later == ARBITER || self.undone.contains(later);
                let mut later =
                    self.plan.compensatable().filter(|n| self.plan.steps[*n].ancestors.contains(&call.step));
                assert!(
                    call.step == ARBITER || later.all(|n| is_undone(&n)),
                    "{} is compensated too early",
                    planned.name
                );
            }
        }
    }

    fn answer(&mut self, reply: &Reply) {
        match reply {
            Reply::Request => return self.apply(Event::TurnBack(Cause { trigger: Trigger::Request, fault: fault() })),
            Reply::Wake => return self.apply(Event::Wake),
            Reply::Stray(step, reply) => {
                let kinds = [CallKind::Run, CallKind::Compensate];
                let strays = kinds.map(|kind| Todo { step: *step, kind, attempt: 9 });
                let is_asked =
                    |stray: &Todo| self.in_flight.iter().any(|c| (c.step, c.kind) == (stray.step, stray.kind));
                for stray in strays.into_iter().filter(|stray| !is_asked(stray)).collect::<Vec<_>>() {
                    if self.is_harmless(stray) {
                        self.tell(stray, reply);
                    }
                }
                return;
            }
            _ => {}
        }
        let call = self.in_flight.remove(0);
        self.tell(call, reply);
    }

    /// Answers of dropped calls are never told; all others that the course has left behind must change nothing.
    fn is_harmless(&self, stray: Todo) -> bool {
        match stray.kind {
            CallKind::Run => !matches!(self.progress.course(), Course::Forward | Course::ForwardOnly),
            CallKind::Compensate => !matches!(self.progress.course(), Course::Deciding | Course::Backward),
        }
    }

    fn tell(&mut self, call: Todo, reply: &Reply) {
        let Todo { step, kind, .. } = call;
        let now = self.now;
        let retry_at = now.saturating_add(Duration::from_secs(1));
        let unknown = |permanent| {
            let unknown = Unknown { fault: Fault::internal(), permanent };
            Event::Unknown { step, kind, unknown, now, retry_at }
        };
        let event = match (kind, reply) {
            (CallKind::Run, Reply::Good) => Event::Done { step, now },
            (CallKind::Run, Reply::Refused) => Event::Refused { step, fault: fault(), now },
            (CallKind::Run, Reply::Pending { secs }) => {
                Event::Pending { step, due: now.saturating_add(Duration::from_secs(*secs)), now }
            }
            (CallKind::Compensate, Reply::PivotPassed) => Event::PivotPassed { step },
            (CallKind::Compensate, Reply::Stands) => Event::Stands { step, retry_at },
            (CallKind::Compensate, Reply::Good | Reply::Refused) => {
                self.undone.insert(step);
                Event::Undone { step, now }
            }
            (_, Reply::Unknown { permanent }) => unknown(*permanent),
            _ => unknown(false),
        };
        self.apply(event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn the_rules_hold_whatever_is_answered(replies in proptest::collection::vec(reply(), 0..60)) {
        let mut game = Game::new();
        for reply in &replies {
            game.turn(reply);
        }
        for _ in 0..TURNS {
            game.turn(&Reply::Good);
        }
        let end = game.end.expect("participants that answer at last let every saga end");
        match end {
            End::Completed => assert!(!game.is_decided),
            End::Compensated => assert!(game.is_decided && !game.has_passed),
            End::Refused => assert!(!game.is_decided && !game.has_passed),
        }
    }
}

#[test]
fn a_refusal_that_found_a_tombstone_says_that_something_else_was_sent() {
    for (fault, course) in [(fault(), Course::Refused), (Fault::tombstone(), Course::Deciding)] {
        let mut game = Game::new();
        game.turn(&Reply::Good);
        game.apply(Event::Refused { step: 0, fault, now: game.now });
        assert_eq!(game.progress.course(), course);
    }
}

#[test]
fn a_second_cause_changes_nothing() {
    let mut game = Game::new();
    let first = Cause { trigger: Trigger::Patience, fault: Fault::internal() };
    game.apply(Event::TurnBack(first.clone()));
    game.apply(Event::TurnBack(Cause { trigger: Trigger::Request, fault: fault() }));
    assert_eq!(game.progress.cause(), Some(&first));
}

#[test]
fn past_the_pivot_a_request_to_turn_back_changes_nothing() {
    let mut game = Game::new();
    while !game.has_passed {
        game.turn(&Reply::Good);
    }
    assert_eq!(game.progress.state(PIVOT), StepState::Done);
    game.apply(Event::TurnBack(Cause { trigger: Trigger::Request, fault: fault() }));
    assert_eq!((game.progress.course(), game.progress.cause()), (Course::ForwardOnly, None));
}
