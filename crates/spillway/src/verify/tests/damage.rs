//! One thing wrong at a time, each with the checks that must see it, and no others.
//!
//! `:name` stands for the id of that buyer's order. Where a rule of the schema would stop the damage, it is done past the
//! rule.

use spillway_fulfilment::DATABASE as FULFILMENT;
use spillway_inventory::DATABASE as INVENTORY;
use spillway_orchestrator::DATABASE as ORCHESTRATOR;
use spillway_order::DATABASE as ORDER;

mod money;
mod sagas;

/// Something that must not be.
pub(super) struct Damage {
    /// What went wrong, as one would tell it.
    pub(super) story: &'static str,
    /// Which file, and what is done to it.
    pub(super) done: &'static [(&'static str, &'static str)],
    /// The checks that see it.
    pub(super) seen_by: &'static [&'static str],
}

pub(super) const ALL: &[&[Damage]] = &[STOCK, ORDERS, PARCELS, money::ALL, sagas::SAGAS, sagas::EVENTS];

const STOCK: &[Damage] = &[
    Damage {
        story: "a file holds a word where a number belongs",
        done: &[
            (
                FULFILMENT,
                "pragma writable_schema = on;
                 update sqlite_schema set sql = replace(sql, ') strict, without', ') without') where name = 'carrier_report'",
            ),
            (FULFILMENT, "update carrier_report set occurred_at = 'noon'"),
            (
                FULFILMENT,
                "pragma writable_schema = on;
                 update sqlite_schema set sql = replace(sql, ') without', ') strict, without')
                  where name = 'carrier_report'",
            ),
        ],
        seen_by: &["files"],
    },
    Damage {
        story: "a unit is on hand that is nowhere",
        done: &[(INVENTORY, "update item set on_hand = on_hand + 1 where sku = 'TEE'")],
        seen_by: &["item-balances", "item-journal"],
    },
    Damage {
        story: "a unit comes in without a movement",
        done: &[(INVENTORY, "update item set on_hand = on_hand + 1, available = available + 1 where sku = 'TEE'")],
        seen_by: &["item-journal"],
    },
    Damage {
        story: "five units leave before they came",
        done: &[(
            INVENTORY,
            "insert into movement values (0, 'TEE', 'RELEASE', null, -5, -5, 0, 0, 1),
                                         (1000, 'TEE', 'RELEASE', null, 5, 5, 0, 0, 1)",
        )],
        seen_by: &["journal-history"],
    },
    Damage {
        story: "a unit is held for nobody",
        done: &[(
            INVENTORY,
            "insert into movement values (1000, 'TEE', 'HOLD', null, 0, -1, 1, 0, 1);
             update item set available = available - 1, held = held + 1 where sku = 'TEE'",
        )],
        seen_by: &["held-and-sold"],
    },
    Damage {
        story: "a unit is sold that nobody was promised",
        done: &[(
            INVENTORY,
            "insert into movement values (1000, 'TEE', 'HOLD', null, 0, -1, 1, 0, 1),
                                         (1001, 'TEE', 'CONFIRM', null, 0, 0, -1, 1, 1);
             update item set available = available - 1, sold_unshipped = sold_unshipped + 1 where sku = 'TEE'",
        )],
        seen_by: &["held-and-sold"],
    },
    Damage {
        story: "a promise is given back twice",
        done: &[(
            INVENTORY,
            "insert into movement values (1000, 'MUG', 'HOLD', null, 0, -1, 1, 0, 1),
                                         (1001, 'MUG', 'RELEASE', ':bob', 0, 1, -1, 0, 1)",
        )],
        seen_by: &["promise-ends"],
    },
    Damage {
        story: "a sold line was never held",
        done: &[(INVENTORY, "update movement set order_id = null where order_id = ':dan' and kind = 'HOLD'")],
        seen_by: &["promise-ends"],
    },
    Damage {
        story: "the record of a counted change is lost",
        done: &[(INVENTORY, "delete from idempotency where scope = 'AdjustStock'")],
        seen_by: &["stock-keys"],
    },
    Damage {
        story: "a counted change was made twice",
        done: &[(
            INVENTORY,
            "insert into movement (sku, kind, on_hand, available, held, sold_unshipped, at)
                select sku, kind, on_hand, available, held, sold_unshipped, at
                  from movement where kind = 'ADJUST' and sku = 'TEE';
             update item set on_hand = on_hand + 10, available = available + 10 where sku = 'TEE'",
        )],
        seen_by: &["stock-keys"],
    },
    Damage {
        story: "a promise begins where none begins",
        done: &[(
            INVENTORY,
            "update outbox set payload = json_set(payload, '$.state', 'EXPIRED') where key = ':dan' and sequence = 1",
        )],
        seen_by: &["promise-moves"],
    },
    Damage {
        story: "more was sold than was ever stocked",
        done: &[(
            INVENTORY,
            "insert into movement values (1000, 'TEE', 'RELEASE', null, 8, 8, 0, 0, 1),
                                         (1001, 'TEE', 'ADJUST', null, -8, -8, 0, 0, 1)",
        )],
        seen_by: &["oversold"],
    },
];

const ORDERS: &[Damage] = &[
    Damage {
        story: "an order's total is a euro more than was charged",
        done: &[(
            ORDER,
            "update orders set total_minor = total_minor + 100, price = json_set(price,
                        '$.shipping.minor', 100, '$.total.minor', (price ->> '$.total.minor') + 100)
              where order_id = ':dan'",
        )],
        seen_by: &["paid-orders"],
    },
    Damage {
        story: "parcels of a cancelled order are still planned",
        done: &[(
            FULFILMENT,
            "update shipment_plan set state = 'PLANNED', version = 1, cancel_reason = '' where order_id = ':bob';
             update shipment set state = 'PLANNED' where order_id = ':bob';
             update warehouse_load set parcels = parcels + 1 where warehouse_id = 'south';
             delete from plan_change where order_id = ':bob' and version = 2;
             delete from outbox where key = ':bob' and sequence = 2",
        )],
        seen_by: &["cancelled-orders", "saga-sides"],
    },
    Damage {
        story: "a buyer declares an order paid",
        done: &[(ORDER, "update order_event set role = 'BUYER' where order_id = ':dan' and name = 'order.paid'")],
        seen_by: &["order-moves"],
    },
    Damage {
        story: "an order has a version more than moves",
        done: &[(ORDER, "update orders set version = version + 1 where order_id = ':dan'")],
        seen_by: &["order-trail"],
    },
    Damage {
        story: "an order stands where it never went",
        done: &[(ORDER, "update orders set state = 'DELIVERED' where order_id = ':ada'")],
        seen_by: &["order-trail"],
    },
    Damage {
        story: "an event tells another move than was made",
        done: &[(
            ORDER,
            "update outbox set payload = json_set(payload, '$.to_state', 'SHIPPED') where key = ':dan' and sequence = 2",
        )],
        seen_by: &["order-events"],
    },
    Damage {
        story: "a total is no sum",
        done: &[(ORDER, "update orders set total_minor = total_minor + 1 where order_id = ':bob'")],
        seen_by: &["price-sums"],
    },
    Damage {
        story: "a line costs more than its pieces",
        done: &[(
            ORDER,
            "update orders set price = json_set(price, '$.lines[0].line_total.minor', 701,
                        '$.goods_total.minor', 701, '$.total.minor', 701), total_minor = 701
              where order_id = ':bob'",
        )],
        seen_by: &["price-sums"],
    },
    Damage {
        story: "the price of a promise was changed afterwards",
        done: &[(INVENTORY, "update reservation_line set unit_price = unit_price + 1 where order_id = ':bob'")],
        seen_by: &["price-snapshots"],
    },
    Damage {
        story: "the saga remembers another price",
        done: &[(
            ORCHESTRATOR,
            "update saga set journal = json_set(journal, '$.steps[0].output.lines[0].unit_price.minor', 1)
              where id = ':dan'",
        )],
        seen_by: &["price-snapshots"],
    },
    Damage {
        story: "the buyer wished for two",
        done: &[(ORCHESTRATOR, "update saga set input = json_set(input, '$.lines[0][1]', 2) where id = ':dan'")],
        seen_by: &["price-snapshots"],
    },
];

const PARCELS: &[Damage] = &[
    Damage {
        story: "a plan is with the carrier, a parcel of it is not",
        done: &[(
            FULFILMENT,
            "update shipment set state = 'DISPATCHED' where order_id = ':ada' and warehouse_id = 'north'",
        )],
        seen_by: &["plan-parcels"],
    },
    Damage {
        story: "a cancelled plan has a parcel that goes out",
        done: &[(FULFILMENT, "update shipment set state = 'PLANNED' where order_id = ':bob'")],
        seen_by: &["plan-parcels", "warehouse-loads"],
    },
    Damage {
        story: "a warehouse waits for a parcel too many",
        done: &[(FULFILMENT, "update warehouse_load set parcels = parcels + 1 where warehouse_id = 'north'")],
        seen_by: &["warehouse-loads"],
    },
    Damage {
        story: "two pieces are sent where one was sold",
        done: &[(FULFILMENT, "update shipment set lines = '[[\"TEE\",2]]' where order_id = ':dan'")],
        seen_by: &["parcel-contents"],
    },
    Damage {
        story: "the record of a carrier's report is lost",
        done: &[(FULFILMENT, "delete from idempotency where scope = 'RecordCarrierEvent'")],
        seen_by: &["report-keys"],
    },
    Damage {
        story: "a plan goes backwards",
        done: &[(
            FULFILMENT,
            "update plan_change set state = 'PLANNED' where order_id = ':ada' and version = 3;
             update outbox set payload = json_set(payload, '$.order_state', 'PLANNED')
              where key = ':ada' and sequence = 3",
        )],
        seen_by: &["plan-moves"],
    },
    Damage {
        story: "a plan's audit says what was never told",
        done: &[(
            FULFILMENT,
            "update outbox set payload = json_set(payload, '$.order_state', 'CANCELLED')
              where key = ':dan' and sequence = 1",
        )],
        seen_by: &["plan-events"],
    },
];
