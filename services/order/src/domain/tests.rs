use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, prop_oneof};
use spillway_types::{BuyerId, EventId, Fault, Money, OrderId, Reason, RequestId, TenantId, Timestamp, id::Partition};

use super::*;

pub(crate) const NOON: Timestamp = Timestamp::from_micros(1_795_219_200_000_000);

pub(crate) fn euros(cents: i64) -> Money {
    Money::new(cents, "EUR".parse().unwrap())
}

pub(crate) fn buyer() -> BuyerId {
    BuyerId::new("ada").unwrap()
}

pub(crate) fn fresh_id() -> OrderId {
    OrderId::mint(NOON, &buyer(), Partition(7))
}

/// So many tees and one mug.
pub(crate) fn price(tees: u32) -> Price {
    let line = |sku: &str, quantity: u32, cents: i64| PricedLine {
        sku: sku.parse().unwrap(),
        title: format!("A {sku}"),
        quantity,
        unit_price: euros(cents),
        line_total: euros(cents * i64::from(quantity)),
    };
    let goods = i64::from(tees) * 1_999 + 850;
    Price {
        lines: vec![line("TEE", tees, 1_999), line("MUG", 1, 850)],
        goods_total: euros(goods),
        shipping: euros(490),
        discount: euros(0),
        total: euros(goods + 490),
    }
}

pub(crate) fn address() -> Address {
    Address {
        recipient: "Ada".to_owned(),
        region: "EU".to_owned(),
        lines: vec!["Marktplatz 1".to_owned()],
        postal_code: "20095".to_owned(),
        city: "Hamburg".to_owned(),
    }
}

pub(crate) fn create(order_id: OrderId, tees: u32) -> Create {
    Create::new((order_id, RequestId::random()), TenantId::default(), buyer(), price(tees), address())
}

pub(crate) fn advance(order_id: OrderId, step: Move, role: Role) -> Advance {
    Advance {
        order_id,
        tenant_id: TenantId::default(),
        buyer_id: None,
        step,
        expected_version: None,
        reason: if step == Move::Cancel { "changed their mind".to_owned() } else { String::new() },
        role,
        request_id: RequestId::random(),
    }
}

/// Rows in memory.
#[derive(Debug, Default)]
struct Shelf {
    orders: BTreeMap<OrderId, Order>,
    entries: Vec<Entry>,
}

impl View for Shelf {
    fn order(&self, order_id: OrderId) -> Option<&Order> {
        self.orders.get(&order_id)
    }

    fn trail(&self, order_id: OrderId) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| entry.order_id == order_id).collect()
    }
}

impl Shelf {
    fn carry_out(&mut self, command: &Command) -> Result<Answer, Fault> {
        let Decision { answer, effects } = decide(self, command, NOON);
        self.orders.extend(effects.orders);
        self.entries.extend(effects.entries);
        answer
    }

    fn create(&mut self, command: Create) -> Result<Order, Fault> {
        self.carry_out(&Command::Create(command)).map(order_of)
    }

    fn advance(&mut self, command: Advance) -> Result<Order, Fault> {
        self.carry_out(&Command::Advance(command)).map(order_of)
    }

    fn follow(&mut self, order_id: OrderId, progress: Progress) -> bool {
        let news = News { event_id: EventId::random(), order_id, progress };
        self.carry_out(&Command::Follow(vec![news])) == Ok(Answer::Followed(Vec::new()))
    }

    /// An order that the saga has brought to PAID.
    fn with_paid_order() -> (Self, OrderId) {
        let (mut shelf, id) = (Self::default(), fresh_id());
        shelf.create(create(id, 1)).unwrap();
        shelf.advance(advance(id, Move::Pay, Role::Saga)).unwrap();
        (shelf, id)
    }
}

fn order_of(answer: Answer) -> Order {
    match answer {
        Answer::Order(order) => *order,
        Answer::Followed(_) => panic!("an order was asked for"),
    }
}

#[test]
fn an_order_that_comes_again_is_answered_as_it_stands_and_another_body_is_refused() {
    let (mut shelf, id) = (Shelf::default(), fresh_id());
    let first = shelf.create(create(id, 1)).unwrap();
    assert_eq!((first.state, first.version), (State::Pending, 1));
    assert_eq!(shelf.create(create(id, 1)), Ok(first), "another request id, the same command");
    assert_eq!(shelf.create(create(id, 2)).unwrap_err().reason, Reason::RequestIdReused);
    let paid = shelf.advance(advance(id, Move::Pay, Role::Saga)).unwrap();
    assert_eq!(shelf.create(create(id, 1)), Ok(paid));
    assert_eq!(shelf.entries.len(), 2);
}

#[test]
fn an_order_that_comes_after_its_cancellation_meets_the_tombstone() {
    let (mut shelf, id) = (Shelf::default(), fresh_id());
    let command = Advance { buyer_id: Some(buyer()), ..advance(id, Move::Cancel, Role::Saga) };
    let tombstone = shelf.advance(command).unwrap();
    assert_eq!((tombstone.state, tombstone.version, tombstone.buyer_id.clone()), (State::Cancelled, 0, Some(buyer())));
    assert_eq!(shelf.advance(advance(id, Move::Cancel, Role::Saga)), Ok(tombstone), "also the second time");
    for fault in [shelf.create(create(id, 1)), shelf.advance(advance(id, Move::AwaitPayment, Role::Saga))] {
        assert_eq!(fault.unwrap_err(), Fault::tombstone());
    }
    assert!(shelf.entries.is_empty(), "a tombstone is no move");
}

#[test]
fn a_cancellation_past_the_pivot_answers_the_state_it_found() {
    let (mut shelf, id) = Shelf::with_paid_order();
    for role in [Role::Saga, Role::Buyer, Role::Operator, Role::System] {
        let found = shelf.advance(advance(id, Move::Cancel, role)).unwrap();
        assert_eq!((found.state, found.version), (State::Paid, 2));
    }
    let fault = shelf.advance(advance(id, Move::Cancel, Role::Carrier)).unwrap_err();
    assert_eq!(fault.reason, Reason::IllegalTransition);
    assert_eq!((fault.metadata["current_state"].as_str(), fault.metadata["version"].as_str()), ("PAID", "2"));
}

#[test]
fn a_move_that_was_made_is_done_however_far_the_order_has_come() {
    let (mut shelf, id) = Shelf::with_paid_order();
    assert!(shelf.follow(id, Progress::Delivered));
    let stale = Advance { expected_version: Some(1), ..advance(id, Move::Pay, Role::Saga) };
    assert_eq!(shelf.advance(stale).unwrap().state, State::Delivered);
    let never = shelf.advance(advance(id, Move::AwaitPayment, Role::Saga)).unwrap_err();
    assert_eq!(never.reason, Reason::IllegalTransition, "it was never made");
}

#[test]
fn a_key_makes_one_move_except_the_sagas() {
    let (mut shelf, id) = (Shelf::default(), fresh_id());
    let command = create(id, 1);
    let key = command.request_id;
    shelf.create(command).unwrap();
    let with_key = |step, role| Advance { request_id: key, ..advance(id, step, role) };
    assert!(shelf.advance(with_key(Move::AwaitPayment, Role::Saga)).is_ok());
    assert!(shelf.advance(with_key(Move::Pay, Role::Saga)).is_ok(), "the saga may name all of its calls alike");

    let press = RequestId::random();
    let by_hand = |step| Advance { request_id: press, ..advance(id, step, Role::Operator) };
    for _ in 0..2 {
        assert_eq!(shelf.advance(by_hand(Move::Fulfil)).unwrap().state, State::Fulfilling);
    }
    assert_eq!(shelf.advance(by_hand(Move::Ship)).unwrap_err().reason, Reason::RequestIdReused);
    assert_eq!(shelf.advance(by_hand(Move::Cancel)).unwrap().state, State::Fulfilling, "compensation is total");
}

#[test]
fn a_stale_version_hears_the_current_one() {
    let (mut shelf, id) = (Shelf::default(), fresh_id());
    shelf.create(create(id, 1)).unwrap();
    let at = |version| Advance { expected_version: Some(version), ..advance(id, Move::Pay, Role::Saga) };
    let fault = shelf.advance(at(2)).unwrap_err();
    assert_eq!((fault.reason, fault.metadata["version"].as_str()), (Reason::VersionConflict, "1"));
    assert_eq!(shelf.advance(at(1)).unwrap().version, 2);
}

#[test]
fn another_tenants_order_is_unknown() {
    let (mut shelf, id) = Shelf::with_paid_order();
    let stranger = Advance { tenant_id: "other".parse().unwrap(), ..advance(id, Move::Cancel, Role::Saga) };
    assert_eq!(shelf.advance(stranger).unwrap_err().reason, Reason::NotFound);
}

#[test]
fn shipments_move_an_order_and_missed_news_are_made_good() {
    let (mut shelf, id) = (Shelf::default(), fresh_id());
    assert!(!shelf.follow(id, Progress::Dispatched), "nobody knows it yet");
    shelf.create(create(id, 1)).unwrap();
    assert!(!shelf.follow(id, Progress::Dispatched), "it is not paid");
    shelf.advance(advance(id, Move::Pay, Role::Saga)).unwrap();
    assert!(shelf.follow(id, Progress::HandedOver));
    assert!(shelf.follow(id, Progress::Dispatched), "late news change nothing");
    assert_eq!(shelf.orders[&id].state, State::Shipped);
    assert!(shelf.follow(id, Progress::Delivered));
    let moves: Vec<_> = shelf.trail(id).iter().map(|entry| (entry.version, entry.step)).collect();
    let expected = [Move::Create, Move::Pay, Move::Fulfil, Move::Ship, Move::Deliver];
    assert_eq!(moves, (1..).zip(expected).collect::<Vec<_>>());
}

/// What a command of the model does to which of three orders.
#[derive(Clone, Debug)]
enum Ask {
    Create { tees: u32 },
    Advance { step: Move, role: Role, expected_version: Option<i64> },
    Follow(Progress),
}

fn asks() -> impl Strategy<Value = Vec<(usize, Ask)>> {
    let step = proptest::sample::select(&Move::ALL[1..]);
    // The saga speaks most, as in life; the others come in often enough.
    let role = prop_oneof![3 => Just(Role::Saga), 2 => proptest::sample::select(&Role::ALL[..])];
    let version = prop_oneof![4 => Just(None), 1 => (0..6_i64).prop_map(Some)];
    let progress = proptest::sample::select(vec![Progress::Dispatched, Progress::HandedOver, Progress::Delivered]);
    let ask = prop_oneof![
        2 => (1..3_u32).prop_map(|tees| Ask::Create { tees }),
        6 => (step, role, version)
            .prop_map(|(step, role, expected_version)| Ask::Advance { step, role, expected_version }),
        1 => progress.prop_map(Ask::Follow),
    ];
    proptest::collection::vec((0..3_usize, ask), 1..40)
}

/// The reference: which states an order has been in, in their order. A tombstone has been nowhere.
#[derive(Clone, Debug, Default)]
struct Model {
    tees: u32,
    path: Vec<State>,
    is_tombstone: bool,
}

impl Model {
    /// What the model expects as an answer: a state and version, or a reason.
    fn ask(&mut self, ask: &Ask) -> Result<(State, i64), Reason> {
        match ask {
            Ask::Create { .. } if self.is_tombstone => return Err(Reason::Cancelled),
            Ask::Create { tees } if !self.path.is_empty() && self.tees != *tees => return Err(Reason::RequestIdReused),
            Ask::Create { tees } if self.path.is_empty() => {
                self.tees = *tees;
                self.path.push(State::Pending);
            }
            Ask::Create { .. } => {}
            Ask::Advance { step, role, expected_version } => self.advance(*step, *role, *expected_version)?,
            Ask::Follow(progress) => {
                let catches_up = [(State::Paid, 0), (State::Fulfilling, 1), (State::Shipped, 2)];
                let goal = [State::Fulfilling, State::Shipped, State::Delivered];
                let reach = match progress {
                    Progress::Dispatched => 1,
                    Progress::HandedOver => 2,
                    Progress::Delivered => 3,
                };
                while let Some((_, at)) =
                    catches_up.iter().find(|(state, at)| Some(state) == self.path.last() && *at < reach)
                {
                    self.path.push(goal[*at]);
                }
            }
        }
        Ok(self.standing())
    }

    fn advance(&mut self, step: Move, role: Role, expected: Option<i64>) -> Result<(), Reason> {
        let to = State::ALL.into_iter().find(|state| Move::towards(*state) == step).unwrap();
        if self.path.contains(&to) {
            return Ok(());
        }
        match (step, self.is_tombstone, self.path.is_empty()) {
            (Move::Cancel, ..) => {}
            (_, true, _) => return Err(Reason::Cancelled),
            (_, false, true) => return Err(Reason::NotFound),
            (_, false, false) => {}
        }
        if !step.is_for(role) {
            return Err(Reason::IllegalTransition);
        }
        if expected.is_some_and(|expected| expected != self.standing().1) {
            return Err(Reason::VersionConflict);
        }
        if self.path.is_empty() {
            self.is_tombstone = true;
        } else if machine::next(self.path.last().copied(), step, role).is_some() {
            self.path.push(to);
        } else if step != Move::Cancel {
            return Err(Reason::IllegalTransition);
        }
        Ok(())
    }

    fn standing(&self) -> (State, i64) {
        (self.path.last().copied().unwrap_or(State::Cancelled), i64::try_from(self.path.len()).unwrap())
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(1_000))]

    #[test]
    fn any_commands_in_any_order_leave_orders_and_trails_as_the_model_has_them(script in asks()) {
        let ids = [fresh_id(), fresh_id(), fresh_id()];
        let (mut shelf, mut models) = (Shelf::default(), vec![Model::default(); 3]);
        for (which, ask) in script {
            let id = ids[which];
            let had = shelf.orders.get(&id).cloned();
            let command = match &ask {
                Ask::Create { tees } => Command::Create(create(id, *tees)),
                Ask::Advance { step, role, expected_version } => {
                    Command::Advance(Advance { expected_version: *expected_version, ..advance(id, *step, *role) })
                }
                Ask::Follow(progress) => {
                    Command::Follow(vec![News { event_id: EventId::random(), order_id: id, progress: *progress }])
                }
            };
            let answer = shelf.carry_out(&command);
            let expected = models[which].ask(&ask);
            if let Ok(Answer::Followed(unused)) = &answer {
                let cannot = [State::Pending, State::AwaitingPayment, State::Cancelled];
                let stray = cannot.contains(&models[which].standing().0);
                proptest::prop_assert_eq!(unused.len(), usize::from(stray));
            } else {
                let heard = answer.map(order_of).map(|order| (order.state, order.version)).map_err(|fault| fault.reason);
                proptest::prop_assert_eq!(heard, expected, "{:?}", ask);
            }
            check_invariants(&shelf, id, had.as_ref());
        }
        for (id, model) in ids.iter().zip(&models) {
            let path: Vec<_> = shelf.trail(*id).iter().map(|entry| entry.to_state).collect();
            proptest::prop_assert_eq!(&path, &model.path);
        }
    }
}

/// I11: only listed moves, version + 1 each, final states absorb. I15: entries are 1..n without a gap and end where the
/// row stands. I16: what was bought never changes.
fn check_invariants(shelf: &Shelf, id: OrderId, had: Option<&Order>) {
    let trail = shelf.trail(id);
    let mut stood = None;
    for (version, entry) in (1..).zip(&trail) {
        assert_eq!((entry.version, entry.from_state), (version, stood));
        assert_eq!(machine::next(stood, entry.step, entry.role), Some(entry.to_state));
        stood = Some(entry.to_state);
    }
    let Some(order) = shelf.orders.get(&id) else {
        assert!(trail.is_empty());
        return;
    };
    assert_eq!(order.version, i64::try_from(trail.len()).unwrap());
    assert_eq!(stood.unwrap_or(State::Cancelled), order.state);
    assert_eq!(order.state == State::Cancelled, !order.cancel_reason.is_empty());
    if let Some(had) = had {
        assert_eq!(order.contents, had.contents);
        assert!(!had.state.is_final() || order == had, "a final state absorbs");
    }
}
