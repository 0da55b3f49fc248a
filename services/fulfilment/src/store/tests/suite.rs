//! The facts that hold on every backend.

use super::*;

#[tokio::test]
async fn the_same_key_has_one_effect_from_32_callers_and_after_a_restart() {
    Place::each(async |place| {
        let house = place.furnished().await;
        let (good, bad) = (order(), order());
        let handed_over = record(good, 1, CarrierEvent::PickedUp);
        let commands = [
            plan(good, &["MUG", "TEE"]),
            plan(bad, &["PEN"]),
            Command::Dispatch(good),
            handed_over.clone(),
            cancel(good),
        ];
        let mut answers = Vec::new();
        for command in &commands {
            answers.push(house.ask_by_32(command).await);
        }
        assert_eq!(answers[1].as_ref().unwrap_err().reason, Reason::Unshippable);
        assert_eq!(house.load().await, 2, "32 callers took the capacity of one");
        assert_eq!(house.count("select count(*) from carrier_report").await, 1);
        drop(house);

        let house = place.house().await;
        assert_eq!(house.ask(commands[1].clone()).await, answers[1], "a recorded refusal is durable");
        assert_eq!(house.ask(handed_over).await, answers[3], "so is an answer that is kept as a record");
        assert_eq!(house.ask(cancel(good)).await, answers[4]);
        assert_eq!(house.ask(commands[0].clone()).await, answers[4], "a repeat hears how the plan stands");
        assert_eq!(house.ask(plan(good, &["TEE"])).await.unwrap_err().reason, Reason::RequestIdReused);
    })
    .await;
}

#[tokio::test]
async fn compensation_is_total_before_after_and_twice() {
    Place::each(async |place| {
        let house = place.furnished().await;
        let early = order();
        house.ask_by_32(&cancel(early)).await.unwrap();
        assert_eq!(house.ask(plan(early, &["TEE"])).await.unwrap_err().reason, Reason::Cancelled);

        let late = order();
        house.ask(plan(late, &["MUG", "TEE"])).await.unwrap();
        house.ask(Command::Dispatch(late)).await.unwrap();
        for _ in 0..2 {
            let found = house.ask_plan(cancel(late)).await.unwrap();
            assert_eq!((found.plan.state, found.plan.version), (PlanState::Cancelled, 3));
            assert_eq!(house.load().await, 0);
        }

        let gone = order();
        house.ask(plan(gone, &["MUG"])).await.unwrap();
        house.ask(Command::Dispatch(gone)).await.unwrap();
        house.ask(record(gone, 0, CarrierEvent::Delivered)).await.unwrap();
        let found = house.ask_plan(cancel(gone)).await.unwrap();
        assert!(found.is_past_hand_over() && found.plan.state == PlanState::Delivered);
        assert_eq!(house.load().await, 1);
    })
    .await;
}

#[tokio::test]
async fn one_batch_shares_the_capacity_of_a_day() {
    Place::each(async |place| {
        let house = place.furnished().await;
        let orders: Vec<OrderId> = (0..50).map(|_| order()).collect();
        let answers = join_all(orders.iter().map(|order_id| house.ask(plan(*order_id, &["MUG"])))).await;
        // A database has a clock of its own, which may pass midnight.
        let days = house.count("select count(*) from warehouse_load where warehouse_id = 'b'").await;
        let planned = i64::try_from(answers.iter().filter(|answer| answer.is_ok()).count()).unwrap();
        assert_eq!((planned, house.load().await), (days, days), "one a day");
        // Forward and compensation of one order in one batch: whichever is first, the load is what is live.
        let orders: Vec<OrderId> = (0..50).map(|_| order()).collect();
        let both = orders.iter().flat_map(|order_id| [plan(*order_id, &["TEE"]), cancel(*order_id)]);
        join_all(both.map(|command| house.ask(command))).await;
        let live = house.count("select count(*) from shipment where state <> 'CANCELLED'").await;
        assert_eq!((house.load().await, live), (days, days));
    })
    .await;
}

#[tokio::test]
async fn every_change_is_audited_and_published_under_its_number() {
    Place::each(async |place| {
        let house = place.furnished().await;
        let order_id = order();
        house.ask(plan(order_id, &["MUG", "TEE"])).await.unwrap();
        let early = record(order_id, 0, CarrierEvent::PickedUp);
        assert_eq!(house.ask(early.clone()).await.unwrap_err().reason, Reason::IllegalTransition);
        house.ask(Command::Dispatch(order_id)).await.unwrap();
        assert!(house.ask(early).await.is_ok(), "asked again, a refused report is judged again");
        house.ask(record(order_id, 1, CarrierEvent::Delivered)).await.unwrap();
        house.ask(record(order_id, 1, CarrierEvent::PickedUp)).await.unwrap();
        house.ask(plan(order(), &["PEN"])).await.unwrap_err();
        house.ask(cancel(order())).await.unwrap();
        let published = house.published(order_id).await;
        let said = ["PLANNED", "DISPATCHED", "DISPATCHED", "HANDED_OVER"];
        let payload = |state| serde_json::json!({ "order_id": order_id, "order_state": state }).to_string();
        assert_eq!(published, (1..).zip(said.map(payload)).collect::<Vec<_>>());
        assert_eq!(house.count("select count(*) from outbox").await, 4, "refusals and tombstones are no news");
        assert_eq!(house.count("select count(*) from plan_change").await, 4);
        assert_eq!(house.count("select count(*) from carrier_report").await, 3);
    })
    .await;
}

#[tokio::test]
async fn what_was_written_can_be_read_page_by_page() {
    Place::each(async |place| {
        let house = place.furnished().await;
        let orders: Vec<OrderId> = (0..5).map(|_| order()).collect();
        for order_id in &orders {
            house.ask(plan(*order_id, &["TEE"])).await.unwrap();
        }
        house.ask(Command::Dispatch(orders[2])).await.unwrap();
        house.ask(record(orders[2], 0, CarrierEvent::InTransit)).await.unwrap();

        let all = house.reader.shipments(&ShipmentFilter::default(), None, 10).await.unwrap();
        let first = house.reader.shipments(&ShipmentFilter::default(), None, 3).await.unwrap();
        let rest = house.reader.shipments(&ShipmentFilter::default(), Some(first[2].shipment_id), 3).await.unwrap();
        assert_eq!((all.len(), [first, rest].concat()), (5, all.clone()));
        let only = ShipmentFilter { order_id: Some(orders[2]), states: Some(vec![ShipmentState::HandedOver]) };
        let found = house.reader.shipments(&only, None, 10).await.unwrap();
        assert_eq!((found.len(), found[0].tracking.as_str(), found[0].lines[0].1), (1, "1Z999", 2));
        assert_eq!(house.reader.shipment(found[0].shipment_id).await.unwrap(), Some(found[0].clone()));
        let none = ShipmentFilter { states: Some(Vec::new()), ..only };
        assert!(house.reader.shipments(&none, None, 10).await.unwrap().is_empty());

        let change = UpdateWarehouse {
            warehouse_id: WarehouseId::new("b").unwrap(),
            regions: Some(BTreeSet::from(["EU".parse().unwrap(), "US".parse().unwrap()])),
            priority: Some(-3),
            capacity_per_day: Some(7),
            assortment: Some(BTreeSet::new()),
            promised_days: Some(1),
            active: Some(false),
        };
        let Ok(Answer::Warehouse(changed)) =
            house.ask(Command::UpdateWarehouse(Once::new(RequestId::random(), change))).await
        else {
            panic!("the warehouse is known");
        };
        let a = WarehouseId::new("a").unwrap();
        assert_eq!(house.reader.warehouses(Some(&a), 10).await.unwrap(), [changed]);
        house.reader.check().await.unwrap();
    })
    .await;
}
