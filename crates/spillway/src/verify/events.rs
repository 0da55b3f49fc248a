//! Events: each change told once and in order, each event taken once.

use super::check::{Check, Scope};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "I6",
        name: "news-taken",
        title: "each published piece of news was taken once",
        about: "pieces of news",
        scope: Scope::Across,
        count: "select count(*) from fulfilment.outbox
                 where topic = 'fulfilment.shipments' and published_at <= (select quiet_since from moment)
                   and payload ->> 'order_state' in ('DISPATCHED', 'HANDED_OVER', 'DELIVERED')",
        // Orders take the news that can move them; the rest they may pass over. What is put aside waits for somebody.
        violations: "
            with news as (
                select event_id, key, payload ->> 'order_state' as said, published_at
                  from fulfilment.outbox
                 where topic = 'fulfilment.shipments' and published_at <= (select quiet_since from moment)
                   and payload ->> 'order_state' in ('DISPATCHED', 'HANDED_OVER', 'DELIVERED')
            ),
            taken as (
                select event_id, count(*) as times from orders.inbox where consumer = 'order.shipments' group by event_id
            )
            select n.event_id, n.key as order_id, n.said, coalesce(t.times, 0) as taken
              from news n left join taken t on t.event_id = n.event_id
             where t.times > 1
                or t.times is null and n.published_at <= (select told_since from moment)
                   and n.event_id not in (select event_id from orders.dead_letter where consumer = 'order.shipments')
            union all
            select event_id, null, 'nobody said it', 1
              from orders.inbox
             where consumer = 'order.shipments' and taken_at <= (select quiet_since from moment)
               and event_id not in (select event_id from fulfilment.outbox)",
    },
    Check {
        id: "I6",
        name: "news-followed",
        title: "an order stands where its parcels' news have taken it",
        about: "orders with news",
        scope: Scope::Across,
        count: "select count(distinct key) from fulfilment.outbox
                 where topic = 'fulfilment.shipments' and published_at <= (select quiet_since from moment)",
        violations: "
            with said as (
                select key as order_id, max(case payload ->> 'order_state' when 'DISPATCHED' then 1
                                            when 'HANDED_OVER' then 2 when 'DELIVERED' then 3 else 0 end) as progress
                  from fulfilment.outbox
                 where topic = 'fulfilment.shipments' and published_at <= (select told_since from moment)
                   and event_id not in (select event_id from orders.dead_letter where consumer = 'order.shipments')
                 group by key
            )
            select o.order_id, o.state, s.progress as news_of_step
              from said s
              join orders.orders o on o.order_id = s.order_id
             where case o.state when 'PAID' then 0 when 'FULFILLING' then 1 when 'SHIPPED' then 2
                                when 'DELIVERED' then 3 when 'COMPLETED' then 3 end < s.progress",
    },
    Check {
        id: "I15",
        name: "event-numbers",
        title: "events of a topic and key are numbered 1 to n",
        about: "events",
        scope: Scope::Within,
        count: "select (select count(*) from inventory.outbox) + (select count(*) from orders.outbox)
                     + (select count(*) from payment.outbox) + (select count(*) from fulfilment.outbox)",
        violations: "
            with numbered as (
                select topic, key, count(*) as events, min(sequence) as first, max(sequence) as last
                  from inventory.outbox group by topic, key
                union all
                select topic, key, count(*), min(sequence), max(sequence) from orders.outbox group by topic, key
                union all
                select topic, key, count(*), min(sequence), max(sequence) from payment.outbox group by topic, key
                union all
                select topic, key, count(*), min(sequence), max(sequence) from fulfilment.outbox group by topic, key
            )
            select topic || ' ' || key as topic_and_key, events, first, last
              from numbered where first <> 1 or last <> events",
    },
    Check {
        id: "I15",
        name: "promise-told",
        title: "the last event of a promise tells where it stands",
        about: "reservations",
        scope: Scope::Within,
        count: "select count(*) from inventory.reservation",
        // With `max` alone in the list, the plain column is of the row that has it; so in the next two.
        violations: "
            with told as (
                select key, max(sequence) as last, payload ->> 'state' as state
                  from inventory.outbox where topic = 'inventory.reservation' group by key
            )
            select coalesce(r.order_id, t.key) as order_id, r.version, t.last as told_version, r.state,
                   t.state as told_state
              from told t
              full join inventory.reservation r on r.order_id = t.key
             where r.version is not coalesce(t.last, 0) or t.state <> r.state",
    },
    Check {
        id: "I15",
        name: "payment-told",
        title: "the last event of a payment tells where it stands",
        about: "payments",
        scope: Scope::Within,
        count: "select count(*) from payment.payment",
        violations: "
            with told as (
                select key, max(sequence) as last, payload ->> 'state' as state
                  from payment.outbox where topic = 'payment.payment' group by key
            )
            select coalesce(p.payment_id, t.key) as payment_id, p.version, t.last as told_version, p.state,
                   t.state as told_state
              from told t
              full join payment.payment p on p.payment_id = t.key
             where p.version is not coalesce(t.last, 0) or t.state <> p.state",
    },
    Check {
        id: "I15",
        name: "plan-told",
        title: "the last event of a plan tells where it stands",
        about: "plans",
        scope: Scope::Within,
        count: "select count(*) from fulfilment.shipment_plan",
        violations: "
            with told as (
                select key, max(sequence) as last, payload ->> 'order_state' as state
                  from fulfilment.outbox where topic = 'fulfilment.shipments' group by key
            )
            select coalesce(p.order_id, t.key) as order_id, p.version, t.last as told_version, p.state,
                   t.state as told_state
              from told t
              full join fulfilment.shipment_plan p on p.order_id = t.key
             where p.version is not coalesce(t.last, 0) or t.state <> p.state",
    },
];
