use proptest::{collection::vec, prelude::*};

use super::*;

const GOOD: Outcome = Outcome::Answered { slow: false };
const SLOW: Outcome = Outcome::Answered { slow: true };
const MID: Roll = ROLL_MAX / 2;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn run(machine: &mut Machine, at: u64, outcomes: impl IntoIterator<Item = Outcome>) {
    for outcome in outcomes {
        if let Ok(ticket) = machine.admit(ms(at), MID) {
            machine.report(ticket, outcome, ms(at), MID);
        }
    }
}

fn repeat(outcome: Outcome, times: usize) -> impl Iterator<Item = Outcome> {
    std::iter::repeat_n(outcome, times)
}

/// A machine that opened at time 0, for 5 s.
fn opened() -> Machine {
    let mut machine = Machine::new(&BreakerConfig::default(), &Quota::new(1));
    run(&mut machine, 0, repeat(Outcome::Failed, 20));
    assert_eq!(machine.admit(ms(0), MID), Err(ms(5_000)));
    machine
}

#[test]
fn of_two_neighbours_one_may_be_open_until_it_is_well() {
    let quota = Quota::new(2);
    let [mut one, mut other] = [(); 2].map(|()| Machine::new(&BreakerConfig::default(), &quota));
    run(&mut one, 0, repeat(Outcome::Failed, 20));
    run(&mut other, 0, repeat(Outcome::Failed, 40));
    assert!(!one.is_closed() && other.is_closed(), "the cause is hardly theirs");
    run(&mut one, 5_000, repeat(GOOD, 4));
    run(&mut other, 5_000, [Outcome::Failed]);
    assert!(one.is_closed() && !other.is_closed(), "the place is free again");
    drop(other);
    run(&mut one, 5_000, repeat(Outcome::Failed, 20));
    assert!(!one.is_closed(), "also when its holder is gone");
}

#[test]
fn every_event_in_every_state() {
    // Closed
    let mut closed = Machine::new(&BreakerConfig::default(), &Quota::new(1));
    run(&mut closed, 0, repeat(Outcome::Failed, 19));
    assert!(closed.is_closed(), "nineteen calls prove nothing");
    run(&mut closed, 0, repeat(Outcome::Ignored, 100));
    assert!(closed.is_closed(), "ignored outcomes are no calls");
    run(&mut closed, 0, repeat(GOOD, 20));
    run(&mut closed, 0, [Outcome::Failed]);
    assert!(!closed.is_closed(), "20 of 40 failed");

    let mut slow = Machine::new(&BreakerConfig::default(), &Quota::new(1));
    run(&mut slow, 0, repeat(GOOD, 4).chain(repeat(SLOW, 15)));
    assert!(slow.is_closed(), "15 of 19 are too few calls");
    run(&mut slow, 0, [SLOW]);
    assert!(!slow.is_closed(), "16 of 20 are slow");

    // Open
    let mut open = opened();
    assert_eq!(open.admit(ms(4_999), MID), Err(ms(1)), "says how long to wait");
    assert!(open.admit(ms(5_000), MID).is_ok(), "then probes");

    // Half-open
    let mut probing = opened();
    for _ in 0..5 {
        assert!(probing.admit(ms(5_000), MID).is_ok());
    }
    assert_eq!(probing.admit(ms(6_000), MID), Err(ms(9_000)), "five permits, and ten seconds to decide");

    let mut well = opened();
    run(&mut well, 5_000, [GOOD, GOOD, Outcome::Failed, GOOD]);
    assert!(!well.is_closed());
    run(&mut well, 5_000, [GOOD]);
    assert!(well.is_closed(), "four of five");

    for bad in [Outcome::Failed, SLOW] {
        let mut ill = opened();
        run(&mut ill, 5_000, [GOOD, GOOD, GOOD, bad, bad]);
        assert_eq!(ill.admit(ms(5_000), MID), Err(ms(10_000)), "open again, for twice as long");
    }
}

#[test]
fn a_probe_that_is_dropped_a_thousand_times_leaves_the_breaker_able_to_close() {
    let mut machine = opened();
    run(&mut machine, 5_000, repeat(Outcome::Ignored, 1_000));
    run(&mut machine, 5_000, repeat(GOOD, 4));
    assert!(machine.is_closed());
}

#[test]
fn probes_that_hang_open_it_again() {
    let mut machine = opened();
    let hung: Vec<_> = (0..5).map(|_| machine.admit(ms(5_000), MID).unwrap()).collect();
    assert_eq!(machine.admit(ms(15_000), MID), Err(ms(10_000)));
    // And what they say in the end is of an older generation.
    for ticket in hung {
        machine.report(ticket, GOOD, ms(16_000), MID);
    }
    assert!(!machine.is_closed());
}

#[test]
fn outcomes_of_an_older_generation_are_ignored() {
    let mut machine = Machine::new(&BreakerConfig::default(), &Quota::new(1));
    let before: Vec<_> = (0..10).map(|_| machine.admit(ms(0), MID).unwrap()).collect();
    run(&mut machine, 0, repeat(Outcome::Failed, 20));
    let probe = machine.admit(ms(5_000), MID).unwrap();
    for ticket in before {
        machine.report(ticket, GOOD, ms(5_000), MID);
    }
    assert!(!machine.is_closed(), "successes from before it opened do not close it");
    machine.report(probe, GOOD, ms(5_000), MID);
    run(&mut machine, 5_000, repeat(GOOD, 3));
    assert!(machine.is_closed());
}

#[test]
fn it_stays_open_for_longer_each_time_up_to_a_minute_and_forgets_that_when_closed() {
    let mut machine = opened();
    let mut now = 5_000;
    for expected in [10_000, 20_000, 40_000, 60_000, 60_000] {
        run(&mut machine, now, repeat(Outcome::Failed, 2));
        assert_eq!(machine.admit(ms(now), MID), Err(ms(expected)));
        now += expected;
    }
    run(&mut machine, now, repeat(GOOD, 4));
    run(&mut machine, now, repeat(Outcome::Failed, 20));
    assert_eq!(machine.admit(ms(now), MID), Err(ms(5_000)));
}

#[test]
fn chance_spreads_the_time_open_by_a_quarter() {
    for (roll, expected) in [(0, 3_750), (MID, 5_000), (ROLL_MAX, 6_250), (Roll::MAX, 6_250)] {
        let mut machine = Machine::new(&BreakerConfig::default(), &Quota::new(1));
        for _ in 0..20 {
            let ticket = machine.admit(ms(0), roll).unwrap();
            machine.report(ticket, Outcome::Failed, ms(0), roll);
        }
        assert_eq!(machine.admit(ms(0), roll), Err(ms(expected)));
    }
}

#[test]
fn a_long_pause_does_not_wedge_the_window() {
    let mut machine = Machine::new(&BreakerConfig::default(), &Quota::new(1));
    run(&mut machine, 0, repeat(Outcome::Failed, 19));
    let later = u64::MAX / 1_000_000;
    run(&mut machine, later, repeat(GOOD, 1));
    run(&mut machine, later, repeat(Outcome::Failed, 19));
    assert!(!machine.is_closed(), "19 of 20, the old ones forgotten");
}

/// The same, told at length: every outcome is kept, and sums are made over what is in the window.
struct Reference {
    config: BreakerConfig,
    /// Of the current generation: when, failed, slow.
    closed: Option<Vec<(u64, bool, bool)>>,
    until: u64,
    /// While probing: permits, good, bad.
    probing: Option<(u32, u32, u32)>,
    openings: u32,
    generation: u64,
}

impl Reference {
    fn settle(&mut self, now: u64) {
        if self.closed.is_some() || now < self.until {
            return;
        }
        match self.probing {
            None => {
                self.probing = Some((self.config.probes, 0, 0));
                self.until = now + self.config.probing_max_ms;
                self.generation += 1;
            }
            Some(_) => self.open(now),
        }
    }

    fn open(&mut self, now: u64) {
        let length = (self.config.open_ms << self.openings.min(20)).min(self.config.open_max_ms);
        (self.closed, self.probing, self.until) = (None, None, now + length);
        self.openings += 1;
        self.generation += 1;
    }

    fn admit(&mut self, now: u64) -> Result<u64, u64> {
        self.settle(now);
        match (&self.closed, &mut self.probing) {
            (Some(_), _) => Ok(self.generation),
            (None, Some((permits @ 1.., _, _))) => {
                *permits -= 1;
                Ok(self.generation)
            }
            (None, _) => Err(self.until - now),
        }
    }

    fn report(&mut self, generation: u64, outcome: Outcome, now: u64) {
        self.settle(now);
        if generation != self.generation {
            return;
        }
        let (failed, slow) = (outcome == Outcome::Failed, outcome == SLOW);
        if let Some(outcomes) = &mut self.closed {
            if outcome != Outcome::Ignored {
                outcomes.push((now, failed, slow));
            }
            let bucket = self.config.window_ms / 10;
            let recent = || outcomes.iter().filter(|(at, _, _)| at / bucket + 10 > now / bucket);
            let calls = recent().count();
            let sick = 100 * recent().filter(|outcome| outcome.1).count() >= 50 * calls
                || 100 * recent().filter(|outcome| outcome.2).count() >= 80 * calls;
            if calls >= 20 && sick {
                self.open(now);
            }
        } else if let Some((permits, good, bad)) = &mut self.probing {
            match outcome {
                Outcome::Ignored => *permits += 1,
                _ if failed || slow => *bad += 1,
                _ => *good += 1,
            }
            if *good >= self.config.probes_needed {
                (self.closed, self.probing, self.openings) = (Some(Vec::new()), None, 0);
                self.generation += 1;
            } else if *bad > self.config.probes - self.config.probes_needed {
                self.open(now);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    Call,
    /// The outcome of the n-th of the calls that are in flight.
    End(usize, Outcome),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let outcome =
        prop_oneof![3 => Just(GOOD), 2 => Just(SLOW), 4 => Just(Outcome::Failed), 1 => Just(Outcome::Ignored)];
    let event = prop_oneof![
        1 => prop_oneof![0..50u64, 0..3_000u64, 0..30_000u64].prop_map(Event::Wait),
        6 => Just(Event::Call),
        6 => (0..8usize, outcome).prop_map(|(which, outcome)| Event::End(which, outcome)),
    ];
    vec(event, 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn it_does_what_the_reference_does(events in events()) {
        let config = BreakerConfig::default();
        let mut machine = Machine::new(&config, &Quota::new(1));
        let mut reference = Reference {
            config, closed: Some(Vec::new()), until: 0, probing: None, openings: 0, generation: 0,
        };
        let (mut now, mut flying) = (0, Vec::new());
        for event in events {
            match event {
                Event::Wait(millis) => now += millis,
                Event::Call => {
                    let (real, expected) = (machine.admit(ms(now), MID), reference.admit(now));
                    prop_assert_eq!(real.map_err(|wait| wait.as_millis()), match expected {
                        Ok(generation) => Ok(Ticket { generation }),
                        Err(wait) => Err(u128::from(wait)),
                    });
                    flying.extend(real);
                }
                Event::End(which, outcome) if which < flying.len() => {
                    let ticket = flying.swap_remove(which);
                    machine.report(ticket, outcome, ms(now), MID);
                    reference.report(ticket.generation, outcome, now);
                }
                Event::End(..) => {}
            }
            prop_assert_eq!(machine.is_closed(), reference.closed.is_some());
        }
    }
}
