//! The promises that a saga builds on, each tested against every participant over real gRPC.
//!
//! A scenario runs on a platform of its own; at its end the platform is drained, state, audit and events are compared,
//! and `verify` judges the databases.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends where an answer is not what it must be, and says so"
)]

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{join, join_all},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use spillway_tests::{
    participant::{ALL, Answer, Deed, Diary, House, Settled, Subject, Wording, fresh},
    shop::Shop,
};
use spillway_types::{Fault, OrderId, Reason};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Callers at once.
const CROWD: usize = 32;

type Answered = Result<Answer, Fault>;

/// Runs a scenario against every participant, and says which of them failed.
async fn each(scenario: impl AsyncFn(&mut House, Subject)) {
    let mut failed = Vec::new();
    for participant in ALL {
        let run = async {
            let mut house = House::open(participant).await;
            scenario(&mut house, participant).await;
            house.close(participant).await;
        };
        if AssertUnwindSafe(run).catch_unwind().await.is_err() {
            eprintln!("^ so much for {}", participant.name());
            failed.push(participant.name());
        }
    }
    assert!(failed.is_empty(), "failed against {}", failed.join(", "));
}

/// A crowd does the same thing at once.
async fn crowd(house: &House, participant: Subject, deed: Deed, order_id: OrderId) -> Vec<Answered> {
    join_all((0..CROWD).map(|_| deed.settled(participant, &house.shop, order_id))).await
}

async fn forward(house: &House, participant: Subject, order_id: OrderId) -> Answer {
    Deed::Forward.settled(participant, &house.shop, order_id).await.unwrap()
}

async fn compensate(house: &House, participant: Subject, order_id: OrderId) -> Answer {
    Deed::Compensate.settled(participant, &house.shop, order_id).await.unwrap()
}

fn assert_all_are(answers: &[Answered], expected: &Answered) {
    for answer in answers {
        assert_eq!(answer, expected);
    }
}

fn assert_is_tombstone(answer: &Answered) {
    let fault = answer.as_ref().unwrap_err();
    assert_eq!((fault.reason, fault.is_recorded()), (Reason::Cancelled, true), "{fault:?}");
}

#[tokio::test]
async fn a_command_that_comes_again_hears_the_same_answer_and_has_one_effect() {
    each(async |house: &mut House, participant: Subject| {
        let (one, many) = (fresh(), fresh());
        let first = forward(house, participant, one).await;
        assert_eq!(first.state, participant.states().done);
        assert_eq!(forward(house, participant, one).await, first);

        let answers = crowd(house, participant, Deed::Forward, many).await;
        let all = answers[0].clone();
        assert_eq!(all.as_ref().unwrap().state, participant.states().done);
        assert_all_are(&answers, &all);
        assert_eq!(house.held(participant).await, 2);

        house.restart().await;
        assert_eq!(forward(house, participant, one).await, first, "after a restart");
        assert_all_are(&crowd(house, participant, Deed::Forward, many).await, &all);
        house.kill().await;
        assert_eq!(forward(house, participant, one).await, first, "after a kill");
        assert_all_are(&crowd(house, participant, Deed::Forward, many).await, &all);
        assert_eq!(house.held(participant).await, 2);
    })
    .await;
}

#[tokio::test]
async fn another_command_under_a_known_key_is_refused_and_changes_nothing() {
    each(async |house: &mut House, participant: Subject| {
        let other = async |house: &House, order_id| {
            let fault = participant.forward(&house.shop, order_id, Wording::Other).await.unwrap_err();
            assert_eq!(fault.reason, Reason::RequestIdReused, "{fault:?}");
        };
        let (known, undone) = (fresh(), fresh());
        let first = forward(house, participant, known).await;
        other(house, known).await;
        forward(house, participant, undone).await;
        compensate(house, participant, undone).await;
        other(house, undone).await;

        // Both wordings at once: one of them is the first, and every caller hears the same of it.
        let contested = fresh();
        let wordings = [Wording::Usual, Wording::Other];
        let calls = wordings.into_iter().cycle().take(CROWD);
        let calls = calls.map(|wording| participant.forward(&house.shop, contested, wording));
        let answers = join_all(calls).await;
        let (usual, other_wording) = (answers[0].is_ok(), answers[1].is_ok());
        assert!(usual != other_wording, "one of the two: {answers:?}");
        for (index, answer) in answers.iter().enumerate() {
            match answer {
                Ok(_) => assert_eq!(answer, &answers[if usual { 0 } else { 1 }]),
                Err(fault) => assert_eq!(fault.reason, Reason::RequestIdReused, "{fault:?}"),
            }
            assert_eq!(answer.is_ok(), answers[index % 2].is_ok());
        }

        house.restart().await;
        other(house, known).await;
        other(house, undone).await;
        assert_eq!(forward(house, participant, known).await, first, "nothing has changed");
    })
    .await;
}

#[tokio::test]
async fn a_compensation_that_comes_first_leaves_a_tombstone() {
    each(async |house: &mut House, participant: Subject| {
        let order_id = fresh();
        let undone = compensate(house, participant, order_id).await;
        assert_eq!(undone.state, participant.states().undone);
        for round in ["at once", "after a restart", "after a kill"] {
            let late = crowd(house, participant, Deed::Forward, order_id).await;
            late.iter().for_each(assert_is_tombstone);
            assert_all_are(&late, &late[0]);
            let other = participant.forward(&house.shop, order_id, Wording::Other).await;
            assert_eq!(other, late[0], "whatever it says: {round}");
            assert_all_are(&crowd(house, participant, Deed::Compensate, order_id).await, &Ok(undone.clone()));
            assert_eq!(house.held(participant).await, 0, "{round}");
            match round {
                "at once" => house.restart().await,
                _ => house.kill().await,
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_compensation_is_accepted_in_every_state_and_as_often_as_it_comes() {
    each(async |house: &mut House, participant: Subject| {
        let (one, many, refused) = (fresh(), fresh(), fresh());
        forward(house, participant, one).await;
        let undone = compensate(house, participant, one).await;
        assert_eq!(undone.state, participant.states().undone);
        assert_eq!(compensate(house, participant, one).await, undone, "twice");
        assert_eq!(forward(house, participant, one).await.state, undone.state, "it answers what stands");

        forward(house, participant, many).await;
        let answers = crowd(house, participant, Deed::Compensate, many).await;
        assert_eq!(answers[0].as_ref().unwrap().state, undone.state);
        assert_all_are(&answers, &answers[0]);

        // What was refused has nothing to undo, and stays refused.
        let fault = Deed::Refuse.settled(participant, &house.shop, refused).await.unwrap_err();
        let found = compensate(house, participant, refused).await;
        assert_eq!(compensate(house, participant, refused).await, found);
        assert_eq!(Deed::Refuse.settled(participant, &house.shop, refused).await, Err(fault));

        assert_eq!(house.held(participant).await, 0);
        house.restart().await;
        assert_eq!(compensate(house, participant, one).await, undone, "after a restart");
        assert_all_are(&crowd(house, participant, Deed::Compensate, many).await, &answers[0]);
        assert_eq!(house.held(participant).await, 0);
    })
    .await;
}

/// One race: how the command was answered while its compensation ran, and that both ends agree afterwards.
async fn race(house: &House, participant: Subject, lead_us: i64) -> Answered {
    let order_id = fresh();
    let wait = |us: i64| sleep(Duration::from_micros(u64::try_from(us).unwrap_or(0)));
    let command = async {
        wait(-lead_us).await;
        Deed::Forward.settled(participant, &house.shop, order_id).await
    };
    let compensation = async {
        wait(lead_us).await;
        compensate(house, participant, order_id).await
    };
    let (answer, undone) = join(command, compensation).await;
    let states = participant.states();
    assert_eq!(undone.state, states.undone, "lead {lead_us} us");
    match &answer {
        Ok(answer) => assert!([states.done, states.undone].contains(&answer.state), "{answer:?}"),
        Err(_) => assert_is_tombstone(&answer),
    }
    // Whatever was answered in the heat stands: done and undone, or never done.
    match (&answer, Deed::Forward.settled(participant, &house.shop, order_id).await) {
        (Ok(_), Ok(again)) => assert_eq!(again.state, states.undone, "lead {lead_us} us"),
        (Err(_), again) => assert_eq!(again, answer, "lead {lead_us} us"),
        (Ok(_), Err(again)) => panic!("lead {lead_us} us: first {answer:?}, then {again:?}"),
    }
    assert_eq!(compensate(house, participant, order_id).await, undone, "lead {lead_us} us");
    answer
}

#[tokio::test]
async fn a_command_and_its_compensation_race_and_nothing_stays_held() {
    each(async |house: &mut House, participant: Subject| {
        // Half of the pairs set off together, to a few microseconds; the others so far apart that each end is seen.
        let together = (-8..8).map(|n| n * 50);
        let apart = (-8..8).map(|n| n * 10_000);
        let answers = join_all(together.chain(apart).map(|lead| race(house, participant, lead))).await;
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((1..answers.len()).contains(&done), "both ends are seen: {done} of {} done first", answers.len());
        assert_eq!(house.held(participant).await, 0);
    })
    .await;
}

#[tokio::test]
async fn past_the_pivot_a_compensation_changes_nothing_and_answers_what_it_found() {
    each(async |house: &mut House, participant: Subject| {
        let order_id = fresh();
        let state = participant.past_pivot(&house.shop, order_id).await.unwrap().state;
        assert_eq!(state, participant.states().past_pivot);
        let (stands, held) = (forward(house, participant, order_id).await, house.held(participant).await);
        assert_eq!(stands.state, state);
        for round in ["at once", "after a restart", "after a kill"] {
            let answers = crowd(house, participant, Deed::Compensate, order_id).await;
            assert_all_are(&answers, &Ok(stands.clone()));
            assert_eq!(forward(house, participant, order_id).await, stands, "{round}");
            assert_eq!(house.held(participant).await, held, "{round}");
            match round {
                "at once" => house.restart().await,
                _ => house.kill().await,
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_recorded_refusal_is_repeated_for_ever() {
    each(async |house: &mut House, participant: Subject| {
        let (one, many) = (fresh(), fresh());
        let refused = Deed::Refuse.settled(participant, &house.shop, one).await;
        let fault = refused.clone().unwrap_err();
        assert_eq!((fault.reason, fault.is_recorded()), (participant.refusal(), true), "{fault:?}");
        let answers = crowd(house, participant, Deed::Refuse, many).await;
        assert_all_are(&answers, &answers[0]);
        assert_eq!(answers[0].as_ref().unwrap_err().reason, participant.refusal());
        assert_eq!(house.held(participant).await, 0);

        house.restart().await;
        assert_eq!(Deed::Refuse.settled(participant, &house.shop, one).await, refused, "after a restart");
        let other = participant.relent(&house.shop, fresh()).await;
        assert_eq!(other.unwrap().state, participant.states().done, "the cause is gone");
        assert_eq!(Deed::Refuse.settled(participant, &house.shop, one).await, refused, "and the refusal stays");
        assert_all_are(&crowd(house, participant, Deed::Refuse, many).await, &answers[0]);
        house.kill().await;
        assert_eq!(Deed::Refuse.settled(participant, &house.shop, one).await, refused, "after a kill");
        assert_eq!(house.held(participant).await, 1, "of the other order");
    })
    .await;
}

/// A caller that goes on until nobody answers.
async fn busy(diary: Arc<Diary>, participant: Subject, shop: Shop) {
    loop {
        let undone = fresh();
        for (deed, order_id) in
            [(Deed::Forward, fresh()), (Deed::Forward, undone), (Deed::Compensate, undone), (Deed::Refuse, fresh())]
        {
            if diary.note(deed, participant, &shop, order_id).await.is_none() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill_and_the_rest_is_found_out() {
    each(async |house: &mut House, participant: Subject| {
        let mut chance = StdRng::seed_from_u64(7);
        let (mut sum, mut held) = (Settled::default(), 0);
        for _ in 0..4 {
            let diary = Arc::new(Diary::default());
            let mut callers = JoinSet::new();
            for _ in 0..CROWD {
                callers.spawn(busy(Arc::clone(&diary), participant, house.shop.clone()));
            }
            sleep(Duration::from_micros(chance.random_range(20_000..60_000))).await;
            house.down().await;
            callers.shutdown().await;
            house.up().await;
            let diary = Arc::into_inner(diary).expect("every caller is gone");
            let settled = diary.settle(participant, &house.shop).await;
            sum.heard += settled.heard;
            sum.found_out += settled.found_out;
            held += settled.held;
            sum.held = held;
            assert_eq!(house.held(participant).await, held);
        }
        println!("{}: {sum:?}", participant.name());
        assert!(sum.heard > 0 && sum.found_out > 0, "kills met calls under way: {sum:?}");
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_leaves_never_leaves_half_a_write_behind() {
    each(async |house: &mut House, participant: Subject| {
        let mut chance = StdRng::seed_from_u64(11);
        // Short ones more often: most of a call is over soon.
        let patience = |chance: &mut StdRng| (0..3).map(|_| chance.random_range(0..200_000)).min().unwrap_or(0);
        let diary = Diary::default();
        let mut calls = Vec::new();
        for deed in [Deed::Forward, Deed::Compensate, Deed::Refuse].into_iter().cycle().take(3 * CROWD) {
            let (order_id, patience) = (fresh(), Duration::from_micros(patience(&mut chance)));
            if deed == Deed::Compensate {
                forward(house, participant, order_id).await;
            }
            calls.push(timeout(patience, diary.note(deed, participant, &house.shop, order_id)));
        }
        let left = join_all(calls).await.iter().filter(|call| call.is_err()).count();
        let settled = diary.settle(participant, &house.shop).await;
        println!("{}: {left} left early; {settled:?}", participant.name());
        assert!(left > 0, "some left early");
        assert_eq!(house.held(participant).await, settled.held);
    })
    .await;
}

#[tokio::test]
async fn state_audit_and_event_are_seen_together_at_every_moment() {
    each(async |house: &mut House, participant: Subject| {
        let orders: Vec<_> = (0..2 * CROWD).map(|_| fresh()).collect();
        let writes = join_all(orders.iter().enumerate().map(async |(index, order_id)| {
            // Spread out, so that there is something to see for a while.
            sleep(Duration::from_millis(u64::try_from(index).unwrap_or(0) * 4)).await;
            match index % 4 {
                0 => participant.past_pivot(&house.shop, *order_id).await.map(drop).unwrap(),
                1 => assert!(participant.refuse(&house.shop, *order_id).await.is_err()),
                _ => {
                    forward(house, participant, *order_id).await;
                    compensate(house, participant, *order_id).await;
                }
            }
        }));
        let mut looks = 0;
        let watch = async {
            loop {
                let problems = house.problems(participant.books()).await;
                assert!(problems.is_empty(), "half of a transaction is to be seen: {problems:#?}");
                looks += 1;
            }
        };
        tokio::select! {
            _ = writes => {}
            () = watch => {}
        }
        assert!(looks >= 5, "looked {looks} times");
    })
    .await;
}

#[tokio::test]
async fn an_event_or_an_audit_row_that_is_missing_shows() {
    for participant in ALL {
        let mut house = House::open(participant).await;
        forward(&house, participant, fresh()).await;
        let books = participant.books();
        assert!(house.problems(books).await.is_empty(), "{}", participant.name());
        house.tear(books).await;
        let problems = house.problems(books).await;
        assert_eq!(problems.len(), 2, "{}: {problems:#?}", participant.name());
    }
}
