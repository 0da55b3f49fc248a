//! Fulfilment: plans, their parcels, and what warehouses have to send.

use spillway_fulfilment::domain::PlanState;

use super::check::{Check, Scope};

/// The moves a plan may make, as its audit has them. A carrier's report on one of several parcels may leave a plan where
/// it stands; a warehouse begins with all of them at once.
pub(super) fn moves() -> Vec<(&'static str, Option<&'static str>, &'static str)> {
    use PlanState::{Cancelled, Delivered, Dispatched, HandedOver, Planned};
    let later = [
        (Planned, &[Dispatched, Cancelled][..]),
        (Dispatched, &[Dispatched, HandedOver, Delivered, Cancelled]),
        (HandedOver, &[HandedOver, Delivered]),
        (Delivered, &[Delivered]),
    ];
    let later = later.into_iter().flat_map(|(from, to)| to.iter().map(move |to| (Some(from), *to)));
    let all = std::iter::once((None, Planned)).chain(later);
    all.map(|(from, to)| ("plan", from.map(PlanState::as_str), to.as_str())).collect()
}

const PLANS: &str = "select count(*) from fulfilment.shipment_plan";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "I2",
        name: "plan-parcels",
        title: "a plan stands where its parcels stand",
        about: "plans",
        scope: Scope::Within,
        count: PLANS,
        violations: "
            with parcel as (
                select order_id, count(*) as parcels,
                       count(*) filter (where state = 'PLANNED') as planned,
                       count(*) filter (where state = 'DISPATCHED') as dispatched,
                       count(*) filter (where state = 'HANDED_OVER') as handed_over,
                       count(*) filter (where state = 'CANCELLED') as cancelled
                  from fulfilment.shipment group by order_id
            )
            select coalesce(p.order_id, s.order_id) as order_id, p.state, p.parcels, s.parcels as has_parcels,
                   s.planned, s.dispatched, s.handed_over, s.cancelled
              from parcel s
              full join fulfilment.shipment_plan p on p.order_id = s.order_id
             where p.order_id is null or p.parcels <> coalesce(s.parcels, 0)
                or case p.state
                    when 'PLANNED' then s.planned = s.parcels
                    when 'DISPATCHED' then s.planned + s.cancelled = 0 and s.dispatched > 0
                    when 'HANDED_OVER' then s.planned + s.cancelled + s.dispatched = 0
                    when 'DELIVERED' then s.planned + s.cancelled + s.dispatched + s.handed_over = 0
                    else s.order_id is null or p.state = 'CANCELLED' and s.cancelled = s.parcels end is not true",
    },
    Check {
        id: "I2",
        name: "warehouse-loads",
        title: "what a warehouse has to send is its parcels",
        about: "days of warehouses",
        scope: Scope::Within,
        count: "select count(*) from fulfilment.warehouse_load",
        violations: "
            with parcel as (
                select warehouse_id, day, count(*) as parcels
                  from fulfilment.shipment where state <> 'CANCELLED' group by warehouse_id, day
            )
            select coalesce(l.warehouse_id, p.warehouse_id) || ' ' || coalesce(l.day, p.day) as warehouse_and_day,
                   l.parcels, p.parcels as has_parcels
              from parcel p
              full join fulfilment.warehouse_load l on l.warehouse_id = p.warehouse_id and l.day = p.day
             where coalesce(l.parcels, 0) <> coalesce(p.parcels, 0)",
    },
    Check {
        id: "I3",
        name: "parcel-contents",
        title: "what was sold is in parcels, piece by piece",
        about: "sold lines",
        scope: Scope::Across,
        count: "select count(*) from inventory.reservation_line l join at_rest r on r.order_id = l.order_id
                 where r.status = 'COMPLETED' and l.confirmed > 0",
        violations: "
            with both (order_id, sku, sold, packed) as (
                select l.order_id, l.sku, l.confirmed, 0
                  from at_rest r
                  join inventory.reservation_line l on l.order_id = r.order_id
                 where r.status = 'COMPLETED'
                union all
                select s.order_id, l.value ->> 0, 0, l.value ->> 1
                  from at_rest r
                  join fulfilment.shipment s on s.order_id = r.order_id
                  join json_each(s.lines) l
                 where r.status = 'COMPLETED' and s.state <> 'CANCELLED'
            )
            select order_id, sku, sum(sold) as sold, sum(packed) as packed
              from both group by order_id, sku having sum(sold) <> sum(packed)",
    },
    Check {
        id: "I5",
        name: "report-keys",
        title: "each carrier's report was booked once",
        about: "reports of the last 29 days",
        scope: Scope::Within,
        count: "select count(*) from fulfilment.carrier_report where at > (select kept_since from moment)",
        violations: "
            with both (request_id, at, asked, booked) as (
                select request_id, at, 0, 1 from fulfilment.carrier_report
                union all
                select request_id, created_at, 1, 0 from fulfilment.idempotency where scope = 'RecordCarrierEvent'
            )
            select request_id, sum(asked) as asked, sum(booked) as booked
              from both where at > (select kept_since from moment)
             group by request_id having sum(asked) <> 1 or sum(booked) <> 1",
    },
    Check {
        id: "I11",
        name: "plan-moves",
        title: "plans made only legal moves",
        about: "moves",
        scope: Scope::Within,
        count: "select count(*) from fulfilment.plan_change",
        violations: "
            with trail as (
                select order_id, version, state, cause, lag(state) over (partition by order_id order by version) as before
                  from fulfilment.plan_change
            )
            select t.order_id, t.version, t.before as from_state, t.state as to_state, t.cause
              from trail t
             where not exists (select 1 from state_move m
                                where m.kind = 'plan' and m.from_state is t.before and m.to_state = t.state)",
    },
    Check {
        id: "I15",
        name: "plan-events",
        title: "a plan's audit was told entry by entry, and nothing else",
        about: "entries",
        scope: Scope::Within,
        count: "select count(*) from fulfilment.plan_change",
        violations: "
            select coalesce(c.order_id, b.key) as order_id, coalesce(c.version, b.sequence) as version, c.state,
                   b.payload ->> 'order_state' as told
              from (select key, sequence, payload from fulfilment.outbox where topic = 'fulfilment.shipments') b
              full join fulfilment.plan_change c on c.order_id = b.key and c.version = b.sequence
             where c.state is not b.payload ->> 'order_state'",
    },
];
