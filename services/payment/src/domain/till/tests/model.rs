//! Random commands over a few payments that share a wallet and coupons, against a reference that knows only what was
//! granted and where each payment stands.

use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    test_runner::TestCaseError,
};
use spillway_types::CouponCode;

use super::{Command, *};
use crate::domain::payment::Ask;

const PAYMENTS: u128 = 5;

/// One random step.
#[derive(Clone, Debug)]
enum Step {
    Grant(i64),
    Issue(u8),
    Authorize {
        n: u128,
        amount: i64,
        coupon: Option<u8>,
        points: i64,
    },
    Capture(u128),
    Void(u128, bool),
    Refund(u128, u128, i64),
    /// The provider answers something, fitting or not.
    Answer(u128, u8, u128),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = || 0..PAYMENTS;
    let step = prop_oneof![
        1 => (1..400_i64).prop_map(Step::Grant),
        1 => (0..2_u8).prop_map(Step::Issue),
        4 => (n(), 0..1_000_i64, proptest::option::of(0..3_u8), prop_oneof![Just(0), 0..500_i64])
            .prop_map(|(n, amount, coupon, points)| Step::Authorize { n, amount, coupon, points }),
        3 => n().prop_map(Step::Capture),
        2 => (n(), any::<bool>()).prop_map(|(n, only_if_unpaid)| Step::Void(n, only_if_unpaid)),
        3 => (n(), 0..4_u128, 1..800_i64).prop_map(|(n, key, amount)| Step::Refund(n, key, amount)),
        8 => (n(), 0..7_u8, 0..4_u128).prop_map(|(n, kind, key)| Step::Answer(n, kind, key)),
    ];
    proptest::collection::vec(step, 1..60)
}

fn code(n: u8) -> CouponCode {
    CouponCode::new(format!("C{n}")).unwrap()
}

fn refund_id(n: u128, key: u128) -> RequestId {
    request(100 + n * 10 + key)
}

fn outcome(n: u128, kind: u8, key: u128) -> Outcome {
    match kind {
        0 => Outcome::Authorized(format!("ref-{n}")),
        1 => Outcome::AuthorizationDeclined(no()),
        2 => Outcome::Captured,
        3 => Outcome::CaptureDeclined(no()),
        4 => Outcome::Voided,
        5 => Outcome::Refunded(refund_id(n, key)),
        _ => Outcome::RefundDeclined(refund_id(n, key), no()),
    }
}

/// What the reference expects a new Authorize to be told.
fn expected(world: &World, granted: i64, step: &Authorize) -> Result<State, Reason> {
    let using = |payment: &&Payment| {
        matches!(payment.state, State::Authorizing | State::Authorized | State::Capturing)
            || payment.state.is_past_capture()
    };
    let tenders = || world.payments.values().filter(using).filter_map(|payment| payment.asked.as_ref());
    let mut left = step.amount.minor;
    if let Some(code) = &step.coupon {
        let used = tenders().any(|asked| asked.tenders.coupon.as_ref() == Some(code));
        if used || left < 300 || !world.coupons.contains_key(&(ada(), code.clone())) {
            return Err(Reason::CouponUnavailable);
        }
        left -= left.min(400);
    }
    let points = step.points.min(left);
    let bound: i64 = tenders().map(|asked| asked.tenders.points).sum();
    let back: i64 = world.payments.values().map(|payment| payment.refunded.points).sum();
    if points > granted - bound + back {
        return Err(Reason::InsufficientPoints);
    }
    Ok(if left > points { State::Authorizing } else { State::Authorized })
}

fn command(step: &Step, serial: u128) -> Command {
    match step {
        Step::Grant(points) => {
            let grant = GrantPoints { buyer: ada(), points: *points, reason: "model".to_owned() };
            Command::GrantPoints(Once::new(request(10_000 + serial), grant))
        }
        Step::Issue(n) => {
            let issue =
                IssueCoupon { buyer: ada(), code: code(*n), discount: eur(400), minimum: 300, expires_at: None };
            Command::IssueCoupon(Once::new(request(10_000 + serial), issue))
        }
        Step::Authorize { n, amount, coupon, points } => {
            Command::authorize(Authorize { coupon: coupon.map(code), ..body(*n, *amount, false, *points) })
        }
        Step::Capture(n) => Command::Capture(order(*n)),
        Step::Void(n, only_if_unpaid) => {
            Command::Void(Void { payment_id: order(*n), reason: no(), only_if_unpaid: *only_if_unpaid })
        }
        Step::Refund(n, key, amount) => {
            let body = Refunding { payment_id: order(*n), amount: eur(*amount), reason: String::new() };
            Command::Refund(Once::new(refund_id(*n, *key), body))
        }
        Step::Answer(n, kind, key) => settle(*n, outcome(*n, *kind, *key)),
    }
}

/// I4, I17 and what holds between wallet, coupons and payments.
fn check(world: &World, granted: i64) -> Result<(), TestCaseError> {
    let (mut held, mut spent) = (0, 0);
    for payment in world.payments.values() {
        let Some(asked) = &payment.asked else { continue };
        let paid = asked.tenders.paid();
        let captured = if payment.state.is_past_capture() { paid } else { Shares::default() };
        for (claimed, refunded, captured) in [
            (payment.claimed.points, payment.refunded.points, captured.points),
            (payment.claimed.method, payment.refunded.method, captured.method),
        ] {
            prop_assert!(0 <= refunded && refunded <= claimed && claimed <= captured, "I4: {payment:?}");
        }
        let refunds = world.refunds.values().filter(|refund| refund.key.0 == payment.payment_id);
        let done: i64 = refunds.clone().filter(|r| r.state == RefundState::Done).map(|r| r.shares.total()).sum();
        let open: i64 = refunds.filter(|r| r.state == RefundState::Pending).map(|r| r.shares.total()).sum();
        prop_assert_eq!((payment.refunded.total(), payment.claimed.total()), (done, done + open), "refunds add up");
        prop_assert_eq!(payment.state == State::Refunded, paid.total() > 0 && payment.refunded == paid);
        match payment.state {
            State::Authorizing | State::Authorized | State::Capturing => held += paid.points,
            State::Captured | State::PartiallyRefunded | State::Refunded => {
                spent += paid.points - payment.refunded.points
            }
            State::Voiding | State::Voided | State::Declined => {}
        }
    }
    let empty = Wallet::empty(ada());
    let wallet = world.wallets.get(&ada()).unwrap_or(&empty);
    let accounts = (wallet.available, wallet.held, wallet.issued, wallet.spent);
    prop_assert_eq!(accounts, (granted - held - spent, held, -granted, spent), "I17: points are conserved");
    let sum = |account: Account| -> i64 {
        let change = |t: &Transfer| i64::from(t.to == account) * t.points - i64::from(t.from == account) * t.points;
        world.transfers.iter().map(change).sum()
    };
    let journal = (sum(Account::Available), sum(Account::Held), sum(Account::Issued), sum(Account::Spent));
    prop_assert_eq!(accounts, journal, "the journal sums to the balances");
    for coupon in world.coupons.values() {
        let users = world.payments.values().filter(|payment| {
            let named = payment.asked.as_ref().and_then(|asked| asked.tenders.coupon.as_ref()) == Some(&coupon.code);
            named && !matches!(payment.state, State::Voiding | State::Voided | State::Declined)
        });
        let users: Vec<_> = users.map(|payment| (payment.payment_id, payment.state.is_past_capture())).collect();
        let expected = match coupon.state {
            CouponState::Available => vec![],
            CouponState::Held => coupon.payment_id.map(|id| (id, false)).into_iter().collect(),
            CouponState::Spent => coupon.payment_id.map(|id| (id, true)).into_iter().collect(),
        };
        prop_assert_eq!(users, expected, "a coupon is used at most once");
    }
    Ok(())
}

/// What the provider was told to do and did, for "at most one capture": counted by payment.
fn note_capture(captures: &mut BTreeMap<OrderId, u32>, before: Option<State>, after: Option<&Payment>) {
    if let Some(after) = after.filter(|after| after.state == State::Captured && before != Some(State::Captured)) {
        *captures.entry(after.payment_id).or_default() += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn points_coupons_and_money_are_conserved_whatever_comes(steps in steps()) {
        let mut world = World::default();
        let mut granted = 0;
        let mut captures = BTreeMap::new();
        for (serial, step) in steps.iter().enumerate() {
            let command = command(step, serial as u128);
            let before = world.clone();
            let answer = world.ask(&command);
            match (&command, &answer) {
                (Command::GrantPoints(once), Ok(_)) => granted += once.body.points,
                (Command::Authorize { body, .. }, answer) if before.payment(body.payment_id).is_none() => {
                    let told = match answer {
                        Ok(Answer::Payment(payment)) => Ok(payment.state),
                        Ok(Answer::Open { task, .. }) if task.ask == Ask::Authorize => Ok(State::Authorizing),
                        Ok(other) => panic!("{other:?}"),
                        Err(fault) => Err(fault.reason),
                    };
                    prop_assert_eq!(told, expected(&before, granted, body));
                }
                _ => {}
            }
            for n in 0..PAYMENTS {
                let was = before.payment(order(n)).map(|payment| payment.state);
                note_capture(&mut captures, was, world.payment(order(n)));
                let final_state = matches!(was, Some(State::Voided | State::Declined | State::Refunded));
                prop_assert!(!final_state || before.payment(order(n)) == world.payment(order(n)), "I11: final");
            }
            check(&world, granted)?;
            // Told again at once, a command has no second effect and, unless it moved on, the same answer.
            if !matches!(command, Command::GrantPoints(_) | Command::IssueCoupon(_)) {
                let once = world.payments.clone();
                let again = world.ask(&command);
                prop_assert_eq!(&once, &world.payments);
                let fresh = matches!(answer, Ok(Answer::Open { fresh: true, .. }));
                let settled = matches!(command, Command::Settle { .. });
                prop_assert!(fresh || settled || answer == again, "{command:?}: {answer:?}, then {again:?}");
            }
        }
        prop_assert!(captures.values().all(|count| *count <= 1), "I4: at most one capture a payment");
    }
}
