use std::{collections::VecDeque, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;

fn config(percent: u32, floor: u32) -> RetryConfig {
    RetryConfig { budget_percent: percent, budget_floor_per_s: floor, ..RetryConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn the_share_is_what_it_says() {
    let origin = Instant::now();
    for percent in [10, 30, 60, 70, 90] {
        let budget = Arc::new(Budget::new(&config(percent, 0), origin));
        let calls = 10_000;
        let retries = (0..calls)
            .filter(|_| {
                budget.deposit(origin);
                budget.withdraw(origin).is_some_and(|token| {
                    token.spend();
                    true
                })
            })
            .count();
        let expected = calls * usize::try_from(percent).unwrap() / 100;
        assert_eq!(retries, expected, "{percent} %");
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_times_have_the_floor_and_no_more() {
    let origin = Instant::now();
    let budget = Arc::new(Budget::new(&config(10, 10), origin));
    let mut taken = 0;
    for second in 0..100u64 {
        for _ in 0..1_000 {
            if let Some(token) = budget.withdraw(origin + Duration::from_secs(second)) {
                token.spend();
                taken += 1;
            }
        }
    }
    assert!((900..=1_000).contains(&taken), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_waits_holds_its_token_and_gives_it_back_when_it_is_never_sent() {
    let now = Instant::now();
    let budget = Arc::new(Budget::new(&config(0, 2), now));
    let waiting: Vec<_> = [budget.withdraw(now), budget.withdraw(now)].into_iter().flatten().collect();
    assert_eq!(waiting.len(), 2);
    assert!(budget.withdraw(now).is_none(), "those that wait are counted");
    drop(waiting);
    assert!(budget.withdraw(now).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_long_ago_is_forgotten() {
    let now = Instant::now();
    let budget = Arc::new(Budget::new(&config(100, 0), now));
    (0..1_000).for_each(|_| budget.deposit(now));
    let later = now + Duration::from_secs(60);
    let left = std::iter::from_fn(|| budget.withdraw(later).map(Token::spend)).count();
    assert!(left < 10, "{left} of 1000 after a minute");
    (0..1_000).for_each(|_| budget.deposit(later));
    let much_later = later + Duration::from_secs(1_000_000);
    assert!(budget.withdraw(much_later).is_none());
}

#[test]
fn threads_together_never_take_more_than_there_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let now = Instant::now();
    let budget = Arc::new(Budget::new(&config(10, 0), now));
    let taken: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..10_000)
                        .filter(|_| {
                            budget.deposit(now);
                            budget.withdraw(now).map(Token::spend).is_some()
                        })
                        .count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(taken, 4_000);
}

#[derive(Clone, Debug)]
enum Event {
    Call,
    Schedule,
    Send,
    GiveUp,
    Wait(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => Just(Event::Call),
        4 => Just(Event::Schedule),
        3 => Just(Event::Send),
        1 => Just(Event::GiveUp),
        1 => (0..5_000u64).prop_map(Event::Wait),
    ];
    vec(event, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Invariant I22: attempts are at most 1.1 times the requests, plus the floor.
    #[test]
    fn retries_never_exceed_share_and_floor(events in events(), percent in 0..=100u32, floor in 0..50u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let origin = Instant::now();
        let budget = Arc::new(Budget::new(&config(percent, floor), origin));
        let (mut now, mut calls, mut sent, mut waiting) = (origin, 0u64, 0u64, VecDeque::new());
        for event in events {
            match event {
                Event::Call => { budget.deposit(now); calls += 1; }
                Event::Schedule => waiting.extend(budget.withdraw(now)),
                Event::Send => if let Some(token) = waiting.pop_front() { token.spend(); sent += 1; },
                Event::GiveUp => drop(waiting.pop_front()),
                Event::Wait(millis) => now += Duration::from_millis(millis),
            }
            let scheduled = sent + u64::try_from(waiting.len()).unwrap();
            let elapsed = u64::try_from(now.duration_since(origin).as_millis()).unwrap();
            let allowed = calls * u64::from(percent) * 10 + u64::from(floor) * (elapsed + 1_000);
            prop_assert!(scheduled * 1_000 <= allowed, "{} scheduled, {} milli allowed", scheduled, allowed);
        }
    }
}
