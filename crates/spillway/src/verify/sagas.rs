//! Sagas: one a key, one outcome each, and nothing undone out of turn.

use super::check::{Check, Scope};

const SAGAS: &str = "select count(*) from orchestrator.saga";
const FINISHED: &str = "select count(*) from finished";
const AT_REST: &str = "select count(*) from at_rest";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "I5",
        name: "saga-keys",
        title: "a request started one saga, under the key that it named",
        about: "sagas",
        scope: Scope::Within,
        count: SAGAS,
        violations: "
            with asked as (
                select key, count(*) as sagas, min(id) as id,
                       sum(key is not (input ->> 'tenant') || '/' || (input ->> 'buyer_id') || '/'
                                      || (input ->> 'request_id')) as misnamed
                  from orchestrator.saga group by key
            )
            select key, sagas, misnamed, id as first_saga from asked where sagas > 1 or misnamed > 0",
    },
    Check {
        id: "I7",
        name: "saga-progress",
        title: "an unfinished saga moves, or waits until a named time",
        about: "unfinished sagas",
        scope: Scope::Within,
        count: "select count(*) from orchestrator.saga where id not in (select id from finished)",
        violations: "
            select id, status, direction, drives, attempts, strftime('%FT%TZ', updated / 1000000, 'unixepoch') as last_word,
                   strftime('%FT%TZ', wakeup / 1000000, 'unixepoch') as wakes, parked
              from orchestrator.saga
             where status in ('RUNNING', 'COMPENSATING') and updated <= (select stuck_since from moment)
                or status = 'WAITING' and wakeup is null
                or status = 'PARKED' and (wakeup is null or parked is null)
             order by created, id",
    },
    Check {
        id: "I9",
        name: "saga-sides",
        title: "where a saga has ended, all participants are on its side",
        about: "sagas at rest",
        scope: Scope::Across,
        count: AT_REST,
        violations: "
            select r.order_id, r.status, v.state as reservation, o.state as order_state, p.state as payment,
                   f.state as plan
              from at_rest r
              left join inventory.reservation v on v.order_id = r.order_id
              left join orders.orders o on o.order_id = r.order_id
              left join payment.payment p on p.payment_id = r.order_id
              left join fulfilment.shipment_plan f on f.order_id = r.order_id
             where case
                when r.status <> 'COMPLETED' then
                    coalesce(v.state, 'RELEASED') in ('RELEASED', 'EXPIRED', 'REFUSED')
                    and coalesce(o.state, 'CANCELLED') = 'CANCELLED'
                    and coalesce(p.state, 'VOIDED') in ('VOIDED', 'DECLINED', 'REFUNDED')
                    and coalesce(f.state, 'CANCELLED') in ('CANCELLED', 'REFUSED')
                -- What comes back later is a return's business; the sale stands.
                when o.state in ('REFUNDING', 'REFUNDED', 'RETURNING', 'RETURNED') then v.state = 'CONFIRMED'
                else v.state = 'CONFIRMED'
                    and o.state in ('PAID', 'FULFILLING', 'SHIPPED', 'DELIVERED', 'COMPLETED')
                    and p.state in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED')
                    and f.state in ('DISPATCHED', 'HANDED_OVER', 'DELIVERED')
                end is not true",
    },
    Check {
        id: "I9",
        name: "order-sagas",
        title: "every order has the saga that drives it",
        about: "orders",
        scope: Scope::Across,
        count: "select count(*) from orders.orders",
        violations: "
            select o.order_id, o.state, o.buyer_id, strftime('%FT%TZ', o.created_at / 1000000, 'unixepoch') as created
              from orders.orders o
             where o.created_at <= (select quiet_since from moment)
               and o.order_id not in (select id from orchestrator.saga)",
    },
    Check {
        id: "I9",
        name: "saga-journals",
        title: "a finished saga's journal has each step on its side",
        about: "finished sagas",
        scope: Scope::Within,
        count: FINISHED,
        violations: "
            select s.id, s.status, t.value ->> 'name' as step, t.value ->> 'kind' as kind, t.value ->> 'state' as state
              from orchestrator.saga s, json_each(coalesce(s.journal, '{}'), '$.steps') t
             where s.status in ('COMPLETED', 'REFUSED', 'COMPENSATED')
               and case s.status
                    when 'COMPLETED' then state = 'DONE'
                    when 'REFUSED' then state in ('REFUSED', 'IDLE')
                    else state = 'UNDONE' or kind <> 'COMPENSATABLE' and state <> 'DONE' end is not true
            union all
            select s.id, s.status, 'no step at all', null, null
              from orchestrator.saga s
             where s.status in ('COMPLETED', 'REFUSED', 'COMPENSATED')
               and coalesce(json_array_length(s.journal, '$.steps'), 0) = 0",
    },
    Check {
        id: "I10",
        name: "saga-causes",
        title: "a saga that turned back or was refused says why, no other",
        about: "sagas",
        scope: Scope::Within,
        count: SAGAS,
        violations: "
            select id, status, direction, cause ->> 'reason' as cause
              from orchestrator.saga
             where case
                when status = 'COMPLETED' then direction <> 'BACKWARD' and cause is null
                when status = 'REFUSED' then direction <> 'BACKWARD' and cause is not null
                when status in ('COMPENSATING', 'COMPENSATED') then direction = 'BACKWARD' and cause is not null
                when direction = 'BACKWARD' then status in ('PARKED', 'PAUSED') and cause is not null
                else true end is not true",
    },
    Check {
        id: "I10",
        name: "saga-turns",
        title: "undone only once that is decided, never after capture",
        about: "unfinished sagas",
        scope: Scope::Across,
        count: "select count(*) from orchestrator.saga where id not in (select id from finished)",
        violations: "
            select s.id, s.status, s.direction, v.state as reservation, o.state as order_state, p.state as payment,
                   f.state as plan
              from orchestrator.saga s
              left join inventory.reservation v on v.order_id = s.id
              left join orders.orders o on o.order_id = s.id
              left join payment.payment p on p.payment_id = s.id
              left join fulfilment.shipment_plan f on f.order_id = s.id
             where s.status not in ('COMPLETED', 'REFUSED', 'COMPENSATED')
               and iif(s.direction = 'BACKWARD', p.state in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED'),
                       v.state = 'RELEASED' or o.state = 'CANCELLED' or f.state = 'CANCELLED')",
    },
];
