use std::collections::BTreeSet;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use spillway_types::Timestamp;

use super::*;

fn sku(name: impl std::fmt::Display) -> Sku {
    Sku::new(name.to_string()).unwrap()
}

fn warehouse(name: &str, regions: &[&str], assortment: &[&str]) -> Warehouse {
    Warehouse {
        warehouse_id: WarehouseId::new(name).unwrap(),
        regions: regions.iter().map(|region| region.parse().unwrap()).collect(),
        priority: 0,
        capacity_per_day: 0,
        assortment: assortment.iter().map(sku).collect(),
        promised_days: 2,
        active: true,
        version: 1,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

fn plan(skus: &[&str], region: &str, warehouses: &[Warehouse], load: &[(&str, u32)]) -> Draft {
    let lines: Vec<_> = skus.iter().map(|name| (sku(name), 1)).collect();
    let load = |id: &WarehouseId| load.iter().find(|(name, _)| *name == id.as_str()).map_or(0, |(_, load)| *load);
    draft(&lines, region.parse().unwrap(), &warehouses.iter().collect::<Vec<_>>(), load)
}

fn origins(draft: &Draft) -> Vec<&str> {
    draft.parcels.iter().map(|parcel| parcel.warehouse_id.as_str()).collect()
}

#[test]
fn one_warehouse_that_has_everything_beats_two_nearer_ones() {
    let mut far = warehouse("far", &["*"], &[]);
    far.priority = 9;
    let houses = [warehouse("a", &["*"], &["TEE"]), warehouse("b", &["*"], &["MUG"]), far];
    let draft = plan(&["MUG", "TEE"], "DE", &houses, &[]);
    assert_eq!((origins(&draft), draft.explanation.as_str()), (vec!["far"], "one parcel: far has everything"));
}

#[test]
fn an_order_is_split_when_no_single_warehouse_has_everything() {
    let houses = [warehouse("a", &["*"], &["TEE", "CAP"]), warehouse("b", &["*"], &["MUG", "CAP"])];
    let draft = plan(&["CAP", "MUG", "TEE"], "DE", &houses, &[]);
    assert_eq!(origins(&draft), ["a", "b"]);
    assert_eq!(draft.parcels[0].lines, [(sku("CAP"), 1), (sku("TEE"), 1)]);
    assert_eq!(
        draft.explanation,
        "2 parcels, as no smaller number of warehouses has everything: CAP, TEE from a; MUG from b"
    );
}

#[test]
fn room_comes_before_priority_and_priority_before_the_name() {
    let mut houses = [warehouse("a", &["*"], &[]), warehouse("b", &["*"], &[]), warehouse("c", &["*"], &[])];
    assert_eq!(origins(&plan(&["TEE"], "DE", &houses, &[])), ["a"]);
    houses[2].priority = -1;
    assert_eq!(origins(&plan(&["TEE"], "DE", &houses, &[])), ["c"]);
    for house in &mut houses {
        house.capacity_per_day = 10;
    }
    assert_eq!(origins(&plan(&["TEE"], "DE", &houses, &[("c", 1), ("a", 1)])), ["b"]);
}

#[test]
fn every_line_that_cannot_go_is_named_with_its_reason() {
    let region = "DE".parse().unwrap();
    let mut full = warehouse("full", &["EU"], &["CAP"]);
    full.capacity_per_day = 5;
    let houses = [warehouse("eu", &["EU"], &["TEE"]), warehouse("us", &["US"], &["MUG"]), full];
    let draft = plan(&["CAP", "MUG", "TEE"], "DE", &houses, &[("full", 5)]);
    assert_eq!(origins(&draft), ["eu"], "the rest could go");
    let fault = refusal(&draft, region).unwrap();
    assert_eq!(fault.reason, Reason::Unshippable);
    let named: Vec<_> =
        fault.preconditions.iter().map(|line| (line.subject.as_str(), line.description.as_str())).collect();
    assert_eq!(
        named,
        [
            ("CAP", "1 wanted; every warehouse that keeps it and sends to DE is full today"),
            ("MUG", "1 wanted; no warehouse that sends to DE keeps it"),
        ]
    );
    assert!(refusal(&plan(&["TEE"], "DE", &houses, &[]), region).is_none());
}

#[test]
fn without_any_warehouse_the_refusal_says_what_to_do() {
    let fault = refusal(&plan(&["TEE"], "DE", &[], &[]), "DE".parse().unwrap()).unwrap();
    assert!(fault.message.contains("WarehouseService.CreateWarehouse"), "{}", fault.message);
}

#[test]
fn a_split_too_large_to_search_is_still_complete() {
    // 60 SKUs, each kept by 20 of 60 warehouses: far more sets than the search may look at.
    let name = |number: usize| format!("S{:02}", number % 60);
    let houses: Vec<Warehouse> = (0..60)
        .map(|house| {
            let shelf: Vec<String> = (0..20).map(|shelf| name(house + shelf * shelf)).collect();
            warehouse(&format!("w{house:02}"), &["*"], &shelf.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    let skus: Vec<String> = (0..60).map(name).collect();
    let draft = plan(&skus.iter().map(String::as_str).collect::<Vec<_>>(), "DE", &houses, &[]);
    let sent: BTreeSet<_> = draft.parcels.iter().flat_map(|parcel| &parcel.lines).collect();
    assert_eq!((sent.len(), draft.unfulfillable.len()), (60, 0));
    assert!(draft.parcels.iter().all(|parcel| !parcel.lines.is_empty()), "no parcel is empty");
}

/// Up to 5 warehouses over 5 SKUs: regions, priority, capacity, load, assortment, active.
fn houses() -> impl Strategy<Value = Vec<(Warehouse, u32)>> {
    let regions = prop::sample::select(vec!["*", "EU", "DE", "US"]);
    let shelf = prop::collection::btree_set(0..5_u32, 0..5);
    let house = (regions, -1..2_i32, 0..4_u32, 0..4_u32, shelf, any::<bool>(), any::<bool>());
    prop::collection::vec(house, 0..6).prop_map(|houses| {
        let named = houses.into_iter().enumerate();
        let made = named.map(|(index, (region, priority, capacity_per_day, load, shelf, active, also))| {
            let made = Warehouse {
                priority,
                capacity_per_day,
                assortment: shelf.into_iter().map(sku).collect(),
                active: active || also,
                ..warehouse(&format!("w{index}"), &[region], &[])
            };
            (made, load)
        });
        made.collect()
    })
}

/// Every set of usable warehouses that has all of `skus`: the size, room and priority of the best one.
fn brute_force(skus: &[&Sku], region: Region, houses: &[(Warehouse, u32)]) -> Option<(usize, Reverse<u32>, i64)> {
    let usable: Vec<_> =
        houses.iter().filter(|(house, load)| house.active && house.serves(region) && house.room(*load) > 0).collect();
    let sets = (0..1_u32 << usable.len())
        .map(|bits| usable.iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, house)| *house));
    let complete = sets
        .map(Iterator::collect::<Vec<_>>)
        .filter(|set| skus.iter().all(|sku| set.iter().any(|(house, _)| house.keeps(sku))));
    complete.map(|set| score(&set)).min()
}

fn score(set: &[&(Warehouse, u32)]) -> (usize, Reverse<u32>, i64) {
    let room = set.iter().map(|(house, load)| house.room(*load)).min().unwrap_or(u32::MAX);
    (set.len(), Reverse(room), set.iter().map(|(house, _)| i64::from(house.priority)).sum())
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(1_000))]

    #[test]
    fn a_draft_is_as_good_as_the_best_of_all_possible_ones(
        houses in houses(),
        wanted in prop::collection::btree_map(0..6_u32, 1..9_u32, 1..6),
        region in prop::sample::select(vec!["DE", "US", "EU"]).prop_flat_map(|region| Just(region.parse().unwrap())),
    ) {
        let lines: Vec<(Sku, u32)> = wanted.iter().map(|(name, quantity)| (sku(name), *quantity)).collect();
        let refs: Vec<&Warehouse> = houses.iter().map(|(house, _)| house).collect();
        let load = |id: &WarehouseId| {
            houses.iter().find(|(house, _)| house.warehouse_id == *id).map_or(0, |(_, load)| *load)
        };
        let draft = draft(&lines, region, &refs, load);

        let mut everything: Vec<(Sku, u32)> = draft.parcels.iter().flat_map(|parcel| parcel.lines.clone()).collect();
        everything.extend(draft.unfulfillable.iter().map(|line| (line.sku.clone(), line.quantity)));
        everything.sort();
        prop_assert_eq!(everything, lines, "every unit exactly once");

        let mut used = Vec::new();
        for parcel in &draft.parcels {
            let (house, load) = houses.iter().find(|(house, _)| house.warehouse_id == parcel.warehouse_id).unwrap();
            prop_assert!(house.active && house.serves(region), "only warehouses that serve the region");
            prop_assert!(house.room(*load) > 0, "capacity is respected");
            prop_assert!(!parcel.lines.is_empty() && parcel.lines.iter().all(|(sku, _)| house.keeps(sku)));
            used.push((house.clone(), *load));
        }
        for line in &draft.unfulfillable {
            prop_assert_eq!(brute_force(&[&line.sku], region, &houses), None, "{} could have gone", line.sku);
        }
        let sent: Vec<&Sku> = draft.parcels.iter().flat_map(|parcel| parcel.lines.iter().map(|(sku, _)| sku)).collect();
        prop_assert_eq!(Some(score(&used.iter().collect::<Vec<_>>())), brute_force(&sent, region, &houses));
    }
}
