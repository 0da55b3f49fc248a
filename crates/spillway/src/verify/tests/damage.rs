//! One thing wrong at a time, each with the checks that must see it, and no others.
//!
//! `:name` stands for the id of that buyer's order. Where a rule of the schema would stop the damage, it is done past the
//! rule.

use spillway_fulfilment::DATABASE as FULFILMENT;
use spillway_inventory::DATABASE as INVENTORY;
use spillway_orchestrator::DATABASE as ORCHESTRATOR;
use spillway_order::DATABASE as ORDER;
use spillway_payment::{DATABASE as PAYMENT, SANDBOX_DATABASE as SANDBOX};

/// Something that must not be.
pub(super) struct Damage {
    /// What went wrong, as one would tell it.
    pub(super) story: &'static str,
    /// Which file, and what is done to it.
    pub(super) done: &'static [(&'static str, &'static str)],
    /// The checks that see it.
    pub(super) seen_by: &'static [&'static str],
}

pub(super) const ALL: &[&[Damage]] = &[STOCK, ORDERS, MONEY, PARCELS, SAGAS, EVENTS];

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

const MONEY: &[Damage] = &[
    Damage {
        story: "money was taken for no order at all",
        done: &[
            (
                PAYMENT,
                "insert into payment select '01900000-0000-8000-8000-000000000001', 'CAPTURED', 4, fingerprint, 'hal',
                        currency, amount, null, 0, 0, amount, instrument, 'x', null, '', 1, 0, 0, 0, 0, created_at,
                        updated_at from payment where payment_id = ':dan';
                 insert into outbox select position + 1000, event_id || 'x', topic,
                        '01900000-0000-8000-8000-000000000001', sequence, occurred_at, payload, published_at
                   from outbox where key = ':dan' and sequence <= 4",
            ),
            (
                SANDBOX,
                "insert into charge select '01900000-0000-8000-8000-000000000001', instrument, currency, amount, state
                   from charge where reference = ':dan'",
            ),
        ],
        seen_by: &["money-and-goods"],
    },
    Damage {
        story: "a paid order was never told that it is",
        done: &[(
            ORDER,
            "update orders set state = 'PENDING', version = 1 where order_id = ':dan';
             delete from order_event where order_id = ':dan' and version > 1;
             delete from outbox where key = ':dan' and sequence > 1",
        )],
        seen_by: &["money-and-goods", "saga-sides"],
    },
    Damage {
        story: "a cent was promised back that no refund is about",
        done: &[(PAYMENT, "update payment set claimed_method = claimed_method + 1 where payment_id = ':dan'")],
        seen_by: &["payment-amounts"],
    },
    Damage {
        story: "the shares of a payment are not its amount",
        done: &[(PAYMENT, "update payment set discount = 1 where payment_id = ':eve'")],
        seen_by: &["payment-amounts"],
    },
    Damage {
        story: "a payment was captured, and captured again",
        done: &[(
            PAYMENT,
            "update outbox set payload = json_set(payload, '$.state', 'CAPTURED') where key = ':dan' and sequence = 2",
        )],
        seen_by: &["one-capture", "payment-moves"],
    },
    Damage {
        story: "the provider never captured what we booked",
        done: &[(SANDBOX, "update charge set state = 'AUTHORIZED' where reference = ':ada'")],
        seen_by: &["provider-charges"],
    },
    Damage {
        story: "the provider took more",
        done: &[(SANDBOX, "update charge set amount = amount + 1 where reference = ':ada'")],
        seen_by: &["provider-charges"],
    },
    Damage {
        story: "the provider charged somebody we know nothing of",
        done: &[(SANDBOX, "insert into charge values ('stray', 'sandbox:approved', 'EUR', 5, 'CAPTURED')")],
        seen_by: &["provider-charges"],
    },
    Damage {
        story: "the provider has lost a charge",
        done: &[(SANDBOX, "delete from charge where reference = ':ada'")],
        seen_by: &["provider-charges"],
    },
    Damage {
        story: "the provider never gave back what we booked",
        done: &[(SANDBOX, "delete from payback")],
        seen_by: &["provider-refunds"],
    },
    Damage {
        story: "the provider gave back twice",
        done: &[(SANDBOX, "insert into payback values ('stray', ':dan', 300)")],
        seen_by: &["provider-refunds"],
    },
    Damage {
        story: "the record of a refund is lost",
        done: &[(PAYMENT, "delete from idempotency where scope = 'Refund'")],
        seen_by: &["payment-keys"],
    },
    Damage {
        story: "points were granted that are not in the wallet's books",
        done: &[(
            PAYMENT,
            "insert into idempotency values ('GrantPoints', 'lost', 'f', '{\"Ok\":null}',
                (select max(created_at) from idempotency))",
        )],
        seen_by: &["payment-keys"],
    },
    Damage {
        story: "a payment was captured while it was being voided",
        done: &[(
            PAYMENT,
            "update outbox set payload = json_set(payload, '$.state', 'VOIDING') where key = ':ada' and sequence = 3",
        )],
        seen_by: &["payment-moves"],
    },
    Damage {
        story: "a transfer has four entries",
        done: &[(
            PAYMENT,
            "insert into wallet_entry select buyer_id, transfer_id, 'points:issued', -1, '', at from wallet_entry
              where transfer_id = 'spend:' || ':ada' and account = 'points:held';
             insert into wallet_entry select buyer_id, transfer_id, 'points:available', 1, '', at from wallet_entry
              where transfer_id = 'spend:' || ':ada' and account = 'points:held';
             update wallet set available = available + 1, issued = issued - 1 where buyer_id = 'ada'",
        )],
        seen_by: &["transfers"],
    },
    Damage {
        story: "a point vanished",
        done: &[(PAYMENT, "update wallet set available = available - 1, issued = issued + 1 where buyer_id = 'ada'")],
        seen_by: &["wallet-balances"],
    },
    Damage {
        story: "points are held for no payment",
        done: &[(
            PAYMENT,
            "insert into wallet_entry values ('ada', 'hold:x', 'points:available', -5, '', 1),
                                             ('ada', 'hold:x', 'points:held', 5, '', 1);
             update wallet set available = available - 5, held = held + 5 where buyer_id = 'ada'",
        )],
        seen_by: &["points-in-use"],
    },
    Damage {
        story: "a spent coupon can be used again",
        done: &[(PAYMENT, "update coupon set state = 'AVAILABLE', payment_id = null")],
        seen_by: &["coupons"],
    },
    Damage {
        story: "a coupon took off less than it is worth",
        done: &[(PAYMENT, "update coupon set discount = discount + 1")],
        seen_by: &["coupons"],
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

const SAGAS: &[Damage] = &[
    Damage {
        story: "a request started two sagas",
        done: &[(
            ORCHESTRATOR,
            "create table copy as select * from saga;
             insert into copy select * from saga where id = ':cyd';
             drop table saga;
             alter table copy rename to saga;
             update saga set id = 'twin' where rowid = (select max(rowid) from saga)",
        )],
        seen_by: &["saga-keys"],
    },
    Damage {
        story: "a saga goes under another request's key",
        done: &[(ORCHESTRATOR, "update saga set key = 'default/ada/0' where id = ':dan'")],
        seen_by: &["saga-keys"],
    },
    Damage {
        story: "nobody drives a saga",
        done: &[(ORCHESTRATOR, "update saga set status = 'RUNNING', parked = null, wakeup = null where id = ':eve'")],
        seen_by: &["saga-progress"],
    },
    Damage {
        story: "a saga is parked for ever",
        done: &[(ORCHESTRATOR, "update saga set wakeup = null where id = ':eve'")],
        seen_by: &["saga-progress"],
    },
    Damage {
        story: "a saga was compensated and its order sold",
        done: &[(
            ORCHESTRATOR,
            "update saga set status = 'COMPENSATED', direction = 'BACKWARD', cause = '{}',
                    journal = (select f.journal from saga f where f.id = ':fay')
              where id = ':dan'",
        )],
        seen_by: &["saga-sides"],
    },
    Damage {
        story: "the log has forgotten an order",
        done: &[(ORCHESTRATOR, "delete from saga where id = ':bob'")],
        seen_by: &["order-sagas"],
    },
    Damage {
        story: "a saga ended with a step undone that was never done",
        done: &[(
            ORCHESTRATOR,
            "update saga set journal = json_set(journal, '$.steps[4].state', 'IDLE') where id = ':ada'",
        )],
        seen_by: &["saga-journals"],
    },
    Damage {
        story: "a saga ended without a word",
        done: &[(ORCHESTRATOR, "update saga set journal = '{\"steps\":[]}' where id = ':bob'")],
        seen_by: &["saga-journals"],
    },
    Damage {
        story: "a saga turned back for no reason",
        done: &[(ORCHESTRATOR, "update saga set cause = null where id = ':bob'")],
        seen_by: &["saga-causes"],
    },
    Damage {
        story: "a saga turns back although the money was taken",
        done: &[(
            ORCHESTRATOR,
            "update saga set status = 'PARKED', direction = 'BACKWARD', cause = '{}', parked = '{}', wakeup = 1,
                    journal = null
              where id = ':dan'",
        )],
        seen_by: &["saga-turns"],
    },
    Damage {
        story: "a saga compensates before it has decided to",
        done: &[(
            ORCHESTRATOR,
            "update saga set status = 'PARKED', direction = 'FORWARD', cause = null, parked = '{}', wakeup = 1,
                    journal = null
              where id = ':bob'",
        )],
        seen_by: &["saga-turns"],
    },
];

const EVENTS: &[Damage] = &[
    Damage {
        story: "a piece of news was published past its consumer",
        done: &[(ORDER, "delete from inbox where event_id = (select min(event_id) from inbox)")],
        seen_by: &["news-taken"],
    },
    Damage {
        story: "a piece of news was taken that nobody said",
        done: &[(ORDER, "insert into inbox values ('order.shipments', 'stray', 1)")],
        seen_by: &["news-taken"],
    },
    Damage {
        story: "an order did not follow its parcels",
        done: &[(
            ORDER,
            "update orders set state = 'PAID', version = 2 where order_id = ':dan';
             delete from order_event where order_id = ':dan' and version > 2;
             delete from outbox where key = ':dan' and sequence > 2",
        )],
        seen_by: &["news-followed"],
    },
    Damage {
        story: "an event is missing between two",
        done: &[(
            INVENTORY,
            "update outbox set sequence = 3 where key = ':gus' and sequence = 2;
             update reservation set version = 3 where order_id = ':gus'",
        )],
        seen_by: &["event-numbers"],
    },
    Damage {
        story: "a promise changed in silence",
        done: &[(INVENTORY, "update reservation set version = version + 1 where order_id = ':gus'")],
        seen_by: &["promise-told"],
    },
    Damage {
        story: "a payment changed in silence",
        done: &[(PAYMENT, "update payment set version = version + 1 where payment_id = ':eve'")],
        seen_by: &["payment-told"],
    },
    Damage {
        story: "a plan changed in silence",
        done: &[(FULFILMENT, "update shipment_plan set version = version + 1 where order_id = ':dan'")],
        seen_by: &["plan-told"],
    },
];
