use std::collections::BTreeSet;

use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use spillway_types::{BuyerId, RequestId, Sku, id::Partition};

use super::*;
use crate::domain::CarrierEvent;

/// Midday, so that a test's few minutes stay within one day.
const NOON: Timestamp = Timestamp::from_micros(1_795_219_200_000_000 + 12 * 3_600_000_000);

/// Everything there is, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct House {
    warehouses: BTreeMap<WarehouseId, Warehouse>,
    loads: BTreeMap<(WarehouseId, Day), u32>,
    plans: BTreeMap<OrderId, Plan>,
    shipments: BTreeMap<ShipmentId, Shipment>,
    changes: Vec<PlanChange>,
    reports: Vec<CarrierReport>,
}

impl View for House {
    fn warehouse(&self, id: &WarehouseId) -> Option<&Warehouse> {
        self.warehouses.get(id)
    }

    fn warehouses(&self) -> Vec<&Warehouse> {
        self.warehouses.values().collect()
    }

    fn load(&self, warehouse: &WarehouseId, day: Day) -> u32 {
        self.loads.get(&(warehouse.clone(), day)).copied().unwrap_or_default()
    }

    fn plan(&self, order_id: OrderId) -> Option<&Plan> {
        self.plans.get(&order_id)
    }

    fn shipment(&self, id: ShipmentId) -> Option<&Shipment> {
        self.shipments.get(&id)
    }
}

impl House {
    /// A house with warehouse `a` for `TEE` and `CAP`, and `b` for `MUG` and `CAP`, three parcels a day each.
    fn furnished() -> Self {
        let mut house = Self::default();
        for (name, shelf) in [("a", ["TEE", "CAP"]), ("b", ["MUG", "CAP"])] {
            let command = Command::CreateWarehouse(Once::new(RequestId::random(), create(name, &shelf)));
            house.carry_out(&command, NOON).unwrap();
        }
        house
    }

    fn carry_out(&mut self, command: &Command, now: Timestamp) -> Result<Answer, Fault> {
        let Decision { answer, effects } = decide(self, command, now);
        let Effects { warehouses, loads, plans, shipments, changes, reports } = effects;
        self.warehouses.extend(warehouses);
        self.loads.extend(loads);
        self.plans.extend(plans);
        self.shipments.extend(shipments);
        self.changes.extend(changes);
        self.reports.extend(reports);
        answer
    }

    fn ask(&mut self, command: &Command) -> Result<Planned, Fault> {
        match self.carry_out(command, NOON)? {
            Answer::Plan(planned) => Ok(planned),
            other => panic!("not a plan: {other:?}"),
        }
    }

    /// Reports something about the first parcel of an order.
    fn report(&mut self, order_id: OrderId, event: CarrierEvent) -> Result<ShipmentState, Fault> {
        self.report_of(ShipmentId::of_order(order_id, 0), event).map(|shipment| shipment.state)
    }

    fn report_of(&mut self, shipment_id: ShipmentId, event: CarrierEvent) -> Result<Shipment, Fault> {
        match self.carry_out(&record(shipment_id, event), NOON)? {
            Answer::Shipment(shipment) => Ok(shipment),
            other => panic!("not a shipment: {other:?}"),
        }
    }
}

fn create(name: &str, shelf: &[&str]) -> CreateWarehouse {
    CreateWarehouse {
        warehouse_id: WarehouseId::new(name).unwrap(),
        regions: BTreeSet::from(["*".parse().unwrap()]),
        priority: 0,
        capacity_per_day: 3,
        assortment: shelf.iter().map(|name| Sku::new(*name).unwrap()).collect(),
        promised_days: 2,
        active: true,
    }
}

fn order(number: u8) -> OrderId {
    // The random bits are what tells orders apart, so each number is minted once and kept.
    static ORDERS: std::sync::OnceLock<Vec<OrderId>> = std::sync::OnceLock::new();
    let mint = |_| OrderId::mint(NOON, &BuyerId::new("ada").unwrap(), Partition(0));
    ORDERS.get_or_init(|| (0..=u8::MAX).map(mint).collect())[usize::from(number)]
}

fn plan(number: u8, skus: &[&str]) -> Command {
    let lines = skus.iter().map(|name| (Sku::new(*name).unwrap(), 1)).collect();
    Command::Plan(PlanShipments::new(order(number), "DE".parse().unwrap(), lines))
}

fn cancel(number: u8) -> Command {
    Command::Cancel(CancelShipments { order_id: order(number), reason: "changed my mind".to_owned() })
}

fn record(shipment_id: ShipmentId, event: CarrierEvent) -> Command {
    let body = RecordCarrierEvent { shipment_id, event, occurred_at: None, tracking: None };
    Command::Record(Once::new(RequestId::random(), body))
}

#[test]
fn an_order_is_planned_dispatched_and_delivered_parcel_by_parcel() {
    let mut house = House::furnished();
    let planned = house.ask(&plan(1, &["MUG", "TEE"])).unwrap();
    assert_eq!((planned.plan.state, planned.shipments.len()), (PlanState::Planned, 2));
    assert_eq!(planned.shipments[0].promised_at, NOON.saturating_add(Duration::from_secs(2 * DAY)));
    let dispatched = house.ask(&Command::Dispatch(order(1))).unwrap();
    assert!(dispatched.shipments.iter().all(|shipment| shipment.state == ShipmentState::Dispatched));

    let [first, second] = [0, 1].map(|index| ShipmentId::of_order(order(1), index));
    house.report_of(first, CarrierEvent::Delivered).unwrap();
    house.report_of(first, CarrierEvent::PickedUp).unwrap();
    house.report_of(second, CarrierEvent::InTransit).unwrap();
    house.report_of(second, CarrierEvent::Delivered).unwrap();
    let said: Vec<_> = house.changes.iter().map(|change| (change.version, change.cause, change.state)).collect();
    assert_eq!(
        said,
        [
            (1, "PLAN", PlanState::Planned),
            (2, "DISPATCH", PlanState::Dispatched),
            (3, "DELIVERED", PlanState::Dispatched),
            (4, "IN_TRANSIT", PlanState::HandedOver),
            (5, "DELIVERED", PlanState::Delivered),
        ],
        "a late pick-up changes nothing"
    );
    assert_eq!(house.reports.len(), 4, "but it is in the journal");
}

#[test]
fn a_late_plan_meets_the_tombstone() {
    let mut house = House::furnished();
    let found = house.ask(&cancel(1)).unwrap();
    assert_eq!((found.plan.state, found.plan.version), (PlanState::Cancelled, 0));
    assert_eq!(house.ask(&plan(1, &["TEE"])).unwrap_err().reason, Reason::Cancelled);
    assert_eq!(house.ask(&Command::Dispatch(order(1))).unwrap_err().reason, Reason::IllegalTransition);
    assert!(house.changes.is_empty() && house.loads.is_empty());
}

#[test]
fn a_cancelled_plan_gives_its_capacity_back_once() {
    let mut house = House::furnished();
    house.ask(&plan(1, &["TEE"])).unwrap();
    house.ask(&Command::Dispatch(order(1))).unwrap();
    for _ in 0..2 {
        let found = house.ask(&cancel(1)).unwrap();
        assert_eq!((found.plan.state, found.plan.version), (PlanState::Cancelled, 3));
        assert_eq!(found.shipments[0].state, ShipmentState::Cancelled);
        assert_eq!(house.loads.values().sum::<u32>(), 0);
    }
    let fault = house.report(order(1), CarrierEvent::PickedUp).unwrap_err();
    assert_eq!((fault.reason, fault.metadata["current_state"].as_str()), (Reason::IllegalTransition, "CANCELLED"));
    assert_eq!(house.ask(&plan(1, &["TEE"])).unwrap().plan.state, PlanState::Cancelled, "a repeat hears how it stands");
}

#[test]
fn a_cancellation_after_hand_over_changes_nothing_and_says_so() {
    let mut house = House::furnished();
    house.ask(&plan(1, &["MUG", "TEE"])).unwrap();
    house.ask(&Command::Dispatch(order(1))).unwrap();
    house.report(order(1), CarrierEvent::PickedUp).unwrap();
    let before = house.clone();
    assert!(house.ask(&cancel(1)).unwrap().is_past_hand_over());
    assert_eq!(house, before);
}

#[test]
fn a_refusal_is_recorded_and_repeated_also_when_it_would_now_succeed() {
    let mut house = House::default();
    let fault = house.ask(&plan(1, &["TEE"])).unwrap_err();
    assert_eq!(fault.reason, Reason::Unshippable);
    let command = Command::CreateWarehouse(Once::new(RequestId::random(), create("a", &[])));
    house.carry_out(&command, NOON).unwrap();
    assert_eq!(house.ask(&plan(1, &["TEE"])).unwrap_err(), fault);
    assert!(house.ask(&plan(2, &["TEE"])).is_ok());
    let found = house.ask(&cancel(1)).unwrap().plan;
    assert_eq!((found.state, found.version), (PlanState::Refused, 0), "there was nothing to give up");
    let illegal = house.ask(&Command::Dispatch(order(1))).unwrap_err();
    assert_eq!((illegal.reason, illegal.metadata["current_state"].as_str()), (Reason::IllegalTransition, "REFUSED"));
}

#[test]
fn the_same_order_with_other_lines_is_a_reused_key() {
    let mut house = House::furnished();
    house.ask(&plan(1, &["TEE"])).unwrap();
    assert_eq!(house.ask(&plan(1, &["CAP"])).unwrap_err().reason, Reason::RequestIdReused);
}

#[test]
fn a_full_day_refuses_and_the_next_day_has_room_again() {
    let mut house = House::furnished();
    for number in 1..=3 {
        house.ask(&plan(number, &["TEE"])).unwrap();
    }
    let fault = house.ask(&plan(4, &["TEE"])).unwrap_err();
    assert!(fault.message.contains("full today"), "{}", fault.message);
    let tomorrow = NOON.saturating_add(Duration::from_secs(DAY));
    assert!(house.carry_out(&plan(5, &["TEE"]), tomorrow).is_ok());
}

#[test]
fn a_warehouse_changes_only_in_what_is_named() {
    let mut house = House::furnished();
    let id = WarehouseId::new("a").unwrap();
    let before = house.warehouses[&id].clone();
    let change = UpdateWarehouse {
        warehouse_id: id.clone(),
        regions: None,
        priority: Some(7),
        capacity_per_day: None,
        assortment: None,
        promised_days: None,
        active: Some(false),
    };
    house.carry_out(&Command::UpdateWarehouse(Once::new(RequestId::random(), change)), NOON).unwrap();
    assert_eq!(house.warehouses[&id], Warehouse { priority: 7, active: false, version: 2, ..before });
    let again = Command::CreateWarehouse(Once::new(RequestId::random(), create("a", &[])));
    assert_eq!(house.carry_out(&again, NOON).unwrap_err().reason, Reason::AlreadyExists);
}

fn any_event() -> impl Strategy<Value = CarrierEvent> {
    prop_oneof![
        Just(CarrierEvent::PickedUp),
        Just(CarrierEvent::InTransit),
        Just(CarrierEvent::Delivered),
        Just(CarrierEvent::Lost),
        Just(CarrierEvent::Returned),
    ]
}

/// Commands over four orders, so that they meet often.
fn any_command() -> impl Strategy<Value = Command> {
    let baskets = vec![vec!["TEE"], vec!["MUG", "TEE"], vec!["CAP"], vec!["PEN"]];
    let number = 0..4_u8;
    prop_oneof![
        4 => (number.clone(), prop::sample::select(baskets)).prop_map(|(number, skus)| plan(number, &skus)),
        2 => number.clone().prop_map(cancel),
        3 => number.clone().prop_map(|number| Command::Dispatch(order(number))),
        4 => (number, 0..2_u16, any_event())
            .prop_map(|(number, index, event)| record(ShipmentId::of_order(order(number), index), event)),
    ]
}

/// What must hold between two moments of a house, whatever happened.
fn check(
    before: &House,
    after: &House,
    command: &Command,
    answer: &Result<Answer, Fault>,
) -> Result<(), TestCaseError> {
    let mut live: BTreeMap<(WarehouseId, Day), u32> = after.loads.keys().map(|key| (key.clone(), 0)).collect();
    for shipment in after.shipments.values().filter(|shipment| shipment.state != ShipmentState::Cancelled) {
        *live.entry((shipment.warehouse_id.clone(), shipment.day)).or_default() += 1;
    }
    prop_assert_eq!(&live, &after.loads, "load is what is live");
    prop_assert!(after.loads.values().all(|load| *load <= 3), "capacity is respected");
    for (order_id, plan) in &after.plans {
        let versions = after.changes.iter().filter(|change| change.order_id == *order_id).map(|change| change.version);
        prop_assert!(versions.eq(1..=plan.version), "changes are numbered 1, 2, 3, ...");
        let Some(old) = before.plans.get(order_id) else { continue };
        prop_assert!(plan == old || plan.version == old.version + 1);
        if matches!(old.state, PlanState::Cancelled | PlanState::Refused) {
            prop_assert_eq!(plan, old, "one end is the only end");
        }
        prop_assert!(plan.state >= old.state, "nothing said is taken back");
    }
    for (id, shipment) in &after.shipments {
        let Some(old) = before.shipments.get(id) else { continue };
        prop_assert!(shipment == old || shipment.version == old.version + 1);
        let handed_over_and_cancelled = old.state.is_past_hand_over() && !shipment.state.is_past_hand_over();
        prop_assert!(!handed_over_and_cancelled, "past hand-over there is no way back");
    }
    match (command, answer) {
        (Command::Cancel(_), answer) => prop_assert!(answer.is_ok(), "a compensation is total"),
        (Command::Dispatch(id), answer) => {
            let planned = before.plans.get(id).is_some_and(|plan| plan.state < PlanState::Cancelled);
            prop_assert_eq!(answer.is_ok(), planned, "a planned order is never refused");
        }
        (Command::CreateWarehouse(_) | Command::UpdateWarehouse(_) | Command::Plan(_) | Command::Record(_), _) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(1_000))]

    #[test]
    fn whatever_comes_in_whatever_order_the_rules_hold(commands in prop::collection::vec(any_command(), 1..40)) {
        let mut house = House::furnished();
        for command in commands {
            let before = house.clone();
            let answer = house.carry_out(&command, NOON);
            check(&before, &house, &command, &answer)?;
            // Asked again at once, each command gets the same answer and changes nothing but the journal of reports.
            let once = house.clone();
            let again = house.carry_out(&command, NOON);
            prop_assert_eq!(&again, &answer);
            prop_assert_eq!(House { reports: Vec::new(), ..house.clone() }, House { reports: Vec::new(), ..once });
        }
    }
}
