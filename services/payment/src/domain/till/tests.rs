//! The till, judged command by command; the model below it plays random ones against a reference.

use std::collections::BTreeMap;

use super::*;

mod model;

/// A world in memory that keeps everything that was ever decided.
#[derive(Clone, Default)]
struct World {
    payments: BTreeMap<OrderId, Payment>,
    refunds: BTreeMap<RefundKey, Refund>,
    wallets: BTreeMap<BuyerId, Wallet>,
    coupons: BTreeMap<CouponKey, Coupon>,
    transfers: Vec<Transfer>,
}

impl View for World {
    fn payment(&self, payment_id: OrderId) -> Option<&Payment> {
        self.payments.get(&payment_id)
    }

    fn refund(&self, key: &RefundKey) -> Option<&Refund> {
        self.refunds.get(key)
    }

    fn wallet(&self, buyer: &BuyerId) -> Option<&Wallet> {
        self.wallets.get(buyer)
    }

    fn coupon(&self, key: &CouponKey) -> Option<&Coupon> {
        self.coupons.get(key)
    }
}

impl World {
    fn ask(&mut self, command: &Command) -> Result<Answer, Fault> {
        let Decision { answer, effects } = decide(self, command, Timestamp::from_micros(1));
        if let Some(after) = effects.payment {
            let before = self.payments.get(&after.payment_id).map_or(0, |before| before.version);
            assert!(after.version == before + 1 || (after.version == 0 && before == 0), "I11: {after:?}");
            self.payments.insert(after.payment_id, after);
        }
        self.refunds.extend(effects.refund.map(|refund| (refund.key, refund)));
        if let Some((wallet, transfer)) = effects.holding.wallet {
            assert!(self.transfers.iter().all(|other| other.id != transfer.id), "{} happened twice", transfer.id);
            self.wallets.insert(wallet.buyer.clone(), wallet);
            self.transfers.push(transfer);
        }
        self.coupons.extend(effects.holding.coupon.map(|coupon| (coupon.key(), coupon)));
        answer
    }

    fn state(&self, n: u128) -> State {
        self.payments[&order(n)].state
    }

    /// A buyer with 500 points and a coupon of 10.00 from 20.00 on.
    fn with_wallet() -> Self {
        let mut world = Self::default();
        let grant = GrantPoints { buyer: ada(), points: 500, reason: "welcome".to_owned() };
        world.ask(&Command::GrantPoints(Once::new(request(1_000), grant))).unwrap();
        let (discount, minimum) = (eur(1_000), 2_000);
        let issue = IssueCoupon { buyer: ada(), code: ten(), discount, minimum, expires_at: None };
        world.ask(&Command::IssueCoupon(Once::new(request(1_001), issue))).unwrap();
        world
    }

    fn points(&self) -> (i64, i64, i64) {
        let wallet = &self.wallets[&ada()];
        (wallet.available, wallet.held, wallet.spent)
    }

    fn coupon_state(&self) -> CouponState {
        self.coupons[&(ada(), ten())].state
    }
}

fn order(n: u128) -> OrderId {
    OrderId::new(uuid::Uuid::from_u128(n))
}

fn request(n: u128) -> RequestId {
    RequestId::new(uuid::Uuid::from_u128(n))
}

fn ada() -> BuyerId {
    BuyerId::new("ada").unwrap()
}

fn ten() -> spillway_types::CouponCode {
    spillway_types::CouponCode::new("TEN").unwrap()
}

fn eur(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().unwrap())
}

fn body(n: u128, amount: i64, coupon: bool, points: i64) -> Authorize {
    Authorize {
        payment_id: order(n),
        buyer: ada(),
        amount: eur(amount),
        coupon: coupon.then(ten),
        points,
        instrument: "card".to_owned(),
        expected_total: None,
        instrument_problem: None,
    }
}

fn authorize(n: u128, amount: i64, coupon: bool, points: i64) -> Command {
    Command::authorize(body(n, amount, coupon, points))
}

fn void(n: u128) -> Command {
    Command::Void(Void { payment_id: order(n), reason: "changed my mind".to_owned(), only_if_unpaid: false })
}

fn refund(n: u128, key: u128, amount: i64) -> Command {
    let body = Refunding { payment_id: order(n), amount: eur(amount), reason: String::new() };
    Command::Refund(Once::new(request(key), body))
}

fn settle(n: u128, outcome: Outcome) -> Command {
    Command::Settle { payment_id: order(n), outcome }
}

fn no() -> String {
    "no".to_owned()
}

/// A world in which payment 1, of 50.00 with coupon and 500 points, stands in `state`.
fn standing(state: State) -> World {
    let mut world = World::with_wallet();
    let authorized = || Outcome::Authorized("ref".to_owned());
    let way: Vec<Command> = match state {
        State::Authorizing => vec![],
        State::Authorized => vec![settle(1, authorized())],
        State::Capturing => vec![settle(1, authorized()), Command::Capture(order(1))],
        State::Captured => vec![settle(1, authorized()), Command::Capture(order(1)), settle(1, Outcome::Captured)],
        State::Voiding => vec![void(1)],
        State::Voided => vec![void(1), settle(1, Outcome::Voided)],
        State::Declined => vec![settle(1, Outcome::AuthorizationDeclined(no()))],
        State::PartiallyRefunded | State::Refunded => {
            let amount = if state == State::Refunded { 4_000 } else { 100 };
            let refunded = [refund(1, 50, amount), settle(1, Outcome::Refunded(request(50)))];
            let captured = [settle(1, authorized()), Command::Capture(order(1)), settle(1, Outcome::Captured)];
            captured.into_iter().chain(refunded).collect()
        }
    };
    world.ask(&authorize(1, 5_000, true, 500)).unwrap();
    for command in way {
        // The refusal of the declined one is part of the way.
        let _answer = world.ask(&command);
    }
    assert_eq!(world.state(1), state);
    world
}

/// What a command is answered, in short, and the state it leaves behind.
fn told(mut world: World, command: &Command) -> (String, State) {
    let told = match world.ask(command) {
        Ok(Answer::Payment(payment)) => payment.state.to_string(),
        Ok(Answer::Open { task, fresh }) => format!("{}{:?}", if fresh { "new " } else { "open " }, task.ask),
        Ok(Answer::Wallet) => "wallet".to_owned(),
        Err(fault) => fault.reason.to_string(),
    };
    (told, world.state(1))
}

#[test]
fn every_command_is_answered_in_every_state() {
    use State as S;
    let unpaid = Command::Void(Void { payment_id: order(1), reason: String::new(), only_if_unpaid: true });
    let commands = [authorize(1, 5_000, true, 500), Command::Capture(order(1)), void(1), unpaid, refund(1, 51, 5_000)];
    // State, then for each command its answer; a state after `>` says where it leads.
    let table = [
        (
            S::Authorizing,
            ["open Authorize", "ILLEGAL_TRANSITION", "new Void > VOIDING", "open Authorize", "ILLEGAL_TRANSITION"],
        ),
        (
            S::Authorized,
            ["AUTHORIZED", "new Capture > CAPTURING", "new Void > VOIDING", "AUTHORIZED", "ILLEGAL_TRANSITION"],
        ),
        (S::Capturing, ["CAPTURING", "open Capture", "open Capture", "open Capture", "ILLEGAL_TRANSITION"]),
        (S::Captured, ["CAPTURED", "CAPTURED", "CAPTURED", "CAPTURED", "INVALID_REQUEST"]),
        (S::Voiding, ["CANCELLED", "CANCELLED", "open Void", "open Void", "ILLEGAL_TRANSITION"]),
        (S::Voided, ["CANCELLED", "CANCELLED", "VOIDED", "VOIDED", "ILLEGAL_TRANSITION"]),
        (S::Declined, ["PAYMENT_DECLINED", "PAYMENT_DECLINED", "DECLINED", "DECLINED", "ILLEGAL_TRANSITION"]),
        (
            S::PartiallyRefunded,
            ["PARTIALLY_REFUNDED", "PARTIALLY_REFUNDED", "PARTIALLY_REFUNDED", "PARTIALLY_REFUNDED", "INVALID_REQUEST"],
        ),
        (S::Refunded, ["REFUNDED", "REFUNDED", "REFUNDED", "REFUNDED", "INVALID_REQUEST"]),
    ];
    for (state, answers) in table {
        for (command, expected) in commands.iter().zip(answers) {
            let (expected, after) = expected.split_once(" > ").unwrap_or((expected, state.as_str()));
            assert_eq!(
                told(standing(state), command),
                (expected.to_owned(), after.parse().unwrap()),
                "{state}: {command:?}"
            );
        }
    }
}

#[test]
fn a_void_that_comes_first_leaves_a_tombstone() {
    let mut world = World::with_wallet();
    for _ in 0..2 {
        let Answer::Payment(payment) = world.ask(&void(1)).unwrap() else { panic!("nothing to ask the provider") };
        assert_eq!((payment.state, payment.version, payment.asked), (State::Voided, 0, None));
    }
    let late = world.ask(&authorize(1, 5_000, true, 500)).unwrap_err();
    assert_eq!((late.reason, late.is_recorded()), (Reason::Cancelled, true));
    assert_eq!((world.points(), world.coupon_state()), ((500, 0, 0), CouponState::Available), "nothing is held");
}

#[test]
fn what_was_authorised_and_then_voided_is_answered_as_it_stands() {
    let mut world = standing(State::Authorized);
    world.ask(&void(1)).unwrap();
    world.ask(&settle(1, Outcome::Voided)).unwrap();
    let again = world.ask(&authorize(1, 5_000, true, 500)).unwrap();
    assert!(matches!(again, Answer::Payment(payment) if payment.state == State::Voided));
}

#[test]
fn another_command_under_a_known_key_is_refused_whatever_the_state() {
    for (state, _) in crate::domain::state::STATES {
        let fault = standing(state).ask(&authorize(1, 5_001, true, 500)).unwrap_err();
        assert_eq!(fault.reason, Reason::RequestIdReused, "{state}");
    }
}

#[test]
fn holds_follow_the_payment() {
    let held = ((0, 500, 0), CouponState::Held);
    let free = ((500, 0, 0), CouponState::Available);
    let spent = ((0, 0, 500), CouponState::Spent);
    for (state, expected) in [
        (State::Authorizing, held),
        (State::Authorized, held),
        (State::Capturing, held),
        (State::Captured, spent),
        (State::Voiding, free),
        (State::Voided, free),
        (State::Declined, free),
        (State::PartiallyRefunded, spent),
        // The method came first, then the points; the coupon stays spent.
        (State::Refunded, ((500, 0, 0), CouponState::Spent)),
    ] {
        let world = standing(state);
        assert_eq!((world.points(), world.coupon_state()), expected, "{state}");
    }
}

#[test]
fn refusals_are_recorded_before_the_provider_is_asked() {
    let expecting = |total| Authorize { expected_total: Some(eur(total)), ..body(1, 5_000, true, 0) };
    let with = |instrument: &str, problem: Option<String>| Authorize {
        instrument: instrument.to_owned(),
        instrument_problem: problem,
        ..body(1, 5_000, false, 0)
    };
    for (asked, reason) in [
        (body(1, 1_999, true, 0), Reason::CouponUnavailable),
        (body(1, 5_000, false, 501), Reason::InsufficientPoints),
        (expecting(5_000), Reason::PriceChanged),
        (with("", None), Reason::InvalidRequest),
        (with("cowries", Some("is unknown".to_owned())), Reason::InvalidRequest),
    ] {
        let mut world = World::with_wallet();
        let command = Command::authorize(asked);
        let first = world.ask(&command).unwrap_err();
        assert_eq!((first.reason, first.is_recorded()), (reason, true));
        // More points later change nothing: the answer to this key was given.
        let grant = GrantPoints { buyer: ada(), points: 9_000, reason: "late".to_owned() };
        world.ask(&Command::GrantPoints(Once::new(request(7), grant))).unwrap();
        assert_eq!(world.ask(&command), Err(first));
        assert_eq!((world.state(1), world.payments[&order(1)].version), (State::Declined, 0));
        assert_eq!(told(world, &void(1)).0, "DECLINED");
    }
}

#[test]
fn what_wallet_and_coupon_cover_needs_no_provider() {
    let mut world = World::with_wallet();
    let free = Authorize { instrument: String::new(), ..body(1, 2_000, true, 0) };
    assert!(world.ask(&Command::authorize(free)).is_err(), "10.00 are left to pay");
    let answer = world.ask(&authorize(2, 400, false, 400)).unwrap();
    assert!(matches!(answer, Answer::Payment(payment) if payment.state == State::Authorized));
    let answer = world.ask(&Command::Capture(order(2))).unwrap();
    assert!(matches!(answer, Answer::Payment(payment) if payment.state == State::Captured));
    let answer = world.ask(&refund(2, 60, 400)).unwrap();
    assert!(matches!(answer, Answer::Payment(payment) if payment.state == State::Refunded));
    assert_eq!(world.points(), (500, 0, 0));
}

#[test]
fn a_refused_capture_turns_the_payment_back_and_says_so_for_ever() {
    let mut world = standing(State::Capturing);
    let refused = world.ask(&settle(1, Outcome::CaptureDeclined(no()))).unwrap_err();
    assert_eq!((refused.reason, refused.is_recorded(), world.state(1)), (Reason::PaymentDeclined, true, State::Voided));
    assert_eq!(world.ask(&Command::Capture(order(1))), Err(refused));
    assert_eq!(told(world.clone(), &void(1)).0, "VOIDED");
    assert_eq!((world.points(), world.coupon_state()), ((500, 0, 0), CouponState::Available));
}

#[test]
fn a_refund_that_the_provider_refuses_can_be_claimed_again() {
    let mut world = standing(State::Captured);
    world.ask(&refund(1, 60, 4_000)).unwrap();
    assert_eq!(told(world.clone(), &refund(1, 61, 1)).0, "INVALID_REQUEST", "all of it is claimed");
    let refused = world.ask(&settle(1, Outcome::RefundDeclined(request(60), no()))).unwrap_err();
    assert_eq!(world.ask(&refund(1, 60, 4_000)), Err(refused));
    assert_eq!(told(world, &refund(1, 61, 4_000)).0, format!("new {:?}", super::super::Ask::Refund(request(61))));
}
