//! Damage to the saga log and to events.

use spillway_fulfilment::DATABASE as FULFILMENT;
use spillway_inventory::DATABASE as INVENTORY;
use spillway_orchestrator::DATABASE as ORCHESTRATOR;
use spillway_order::DATABASE as ORDER;
use spillway_payment::DATABASE as PAYMENT;

use super::Damage;

pub(super) const SAGAS: &[Damage] = &[
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

pub(super) const EVENTS: &[Damage] = &[
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
