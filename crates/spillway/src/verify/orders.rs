//! Orders: what they say about themselves, and whether the others agree.

use spillway_order::domain::{State, machine};

use super::check::{Check, Scope};

/// The order machine's table: from, move, by whom, to.
pub(super) fn moves() -> Vec<(Option<&'static str>, &'static str, &'static str, &'static str)> {
    let edges = machine::TABLE.iter();
    let rows = edges.flat_map(|edge| {
        let from = edge.from.map(State::as_str);
        edge.by.iter().map(move |role| (from, edge.step.as_str(), role.as_str(), edge.to.as_str()))
    });
    rows.collect()
}

const EVENTS: &str = "select count(*) from orders.order_event";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "I3",
        name: "paid-orders",
        title: "a paid order: money captured, stock sold, parcels planned",
        about: "paid orders",
        scope: Scope::Across,
        count: "select count(*) from orders.orders o join at_rest r on r.order_id = o.order_id
                 where o.state in ('PAID', 'FULFILLING', 'SHIPPED', 'DELIVERED', 'COMPLETED')",
        // The payment's amount comes before coupon and points, like the order's total before its own discount.
        violations: "
            select o.order_id, o.state, o.currency, o.total_minor as total, p.state as payment, p.amount as charged,
                   v.state as reservation,
                   (select sum(l.confirmed * l.unit_price) from inventory.reservation_line l
                     where l.order_id = o.order_id) as goods_sold,
                   f.state as plan
              from orders.orders o
              join at_rest r on r.order_id = o.order_id
              left join payment.payment p on p.payment_id = o.order_id
              left join inventory.reservation v on v.order_id = o.order_id
              left join fulfilment.shipment_plan f on f.order_id = o.order_id
             where o.state in ('PAID', 'FULFILLING', 'SHIPPED', 'DELIVERED', 'COMPLETED')
               and (coalesce(p.state, '') not in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED')
                    or p.amount is not o.total_minor + (o.price ->> '$.discount.minor')
                    or p.currency is not o.currency
                    or v.state is not 'CONFIRMED'
                    or goods_sold is not (o.price ->> '$.goods_total.minor')
                    or coalesce(f.state, '') not in ('PLANNED', 'DISPATCHED', 'HANDED_OVER', 'DELIVERED'))",
    },
    Check {
        id: "I3",
        name: "cancelled-orders",
        title: "a cancelled order keeps no money and holds nothing",
        about: "cancelled orders",
        scope: Scope::Across,
        count: "select count(*) from orders.orders o join at_rest r on r.order_id = o.order_id
                 where o.state = 'CANCELLED'",
        violations: "
            select o.order_id, o.cancel_reason, p.state as payment, v.state as reservation, f.state as plan
              from orders.orders o
              join at_rest r on r.order_id = o.order_id
              left join payment.payment p on p.payment_id = o.order_id
              left join inventory.reservation v on v.order_id = o.order_id
              left join fulfilment.shipment_plan f on f.order_id = o.order_id
             where o.state = 'CANCELLED'
               and (p.state not in ('VOIDED', 'DECLINED', 'REFUNDED')
                    or v.state not in ('RELEASED', 'EXPIRED', 'REFUSED')
                    or f.state not in ('CANCELLED', 'REFUSED'))",
    },
    Check {
        id: "I11",
        name: "order-moves",
        title: "orders made only legal moves, by whom may make them",
        about: "moves",
        scope: Scope::Within,
        count: EVENTS,
        violations: "
            with trail as (
                select order_id, version, from_state, name, role, to_state,
                       lag(to_state) over (partition by order_id order by version) as before
                  from orders.order_event
            )
            select t.order_id, t.version, t.before as stood_at, t.from_state, t.name, t.role, t.to_state
              from trail t
             where t.from_state is not t.before
                or not exists (select 1 from order_move m
                                where m.from_state is t.from_state and m.name = t.name and m.role = t.role
                                  and m.to_state = t.to_state)",
    },
    Check {
        id: "I15",
        name: "order-trail",
        title: "an order's trail is numbered 1 to n, up to where it stands",
        about: "orders",
        scope: Scope::Within,
        count: "select count(*) from orders.orders",
        // With `max` alone in the list, the plain column is of the row that has it.
        violations: "
            with trail as (
                select order_id, count(*) as entries, max(version) as last, to_state
                  from orders.order_event group by order_id
            )
            select coalesce(o.order_id, t.order_id) as order_id, o.version, o.state, t.entries, t.last,
                   t.to_state as trail_ends
              from trail t
              full join orders.orders o on o.order_id = t.order_id
             where o.order_id is null or o.version <> coalesce(t.last, 0) or coalesce(t.last, 0) <> coalesce(t.entries, 0)
                or t.to_state <> o.state",
    },
    Check {
        id: "I15",
        name: "order-events",
        title: "each entry of a trail was told, and nothing else",
        about: "entries",
        scope: Scope::Within,
        count: EVENTS,
        violations: "
            select coalesce(e.order_id, b.key) as order_id, coalesce(e.version, b.sequence) as version,
                   e.name, b.payload ->> 'name' as told_name, e.to_state, b.payload ->> 'to_state' as told_to_state
              from (select key, sequence, payload from orders.outbox where topic = 'order.state_changed') b
              full join orders.order_event e on e.order_id = b.key and e.version = b.sequence
             where e.name is not b.payload ->> 'name' or e.from_state is not b.payload ->> 'from_state'
                or e.to_state is not b.payload ->> 'to_state'",
    },
    Check {
        id: "I16",
        name: "price-sums",
        title: "the sums of a price add up",
        about: "orders with a price",
        scope: Scope::Within,
        count: "select count(*) from orders.orders where price is not null",
        violations: "
            with line as (
                select o.order_id, sum(l.value ->> '$.line_total.minor') as goods,
                       count(*) - count(distinct l.value ->> 'sku') as doubled,
                       sum((l.value ->> '$.unit_price.minor') * (l.value ->> 'quantity')
                           is not l.value ->> '$.line_total.minor') as wrong_lines,
                       sum(l.value ->> '$.line_total.currency' is not o.currency) as foreign_lines
                  from orders.orders o, json_each(o.price, '$.lines') l
                 group by o.order_id
            )
            select o.order_id, o.currency, l.goods as lines_sum_to, l.wrong_lines, l.foreign_lines, l.doubled,
                   o.price ->> '$.goods_total.minor' as goods_total, o.price ->> '$.shipping.minor' as shipping,
                   o.price ->> '$.discount.minor' as discount, o.price ->> '$.total.minor' as price_total,
                   o.total_minor
              from orders.orders o
              left join line l on l.order_id = o.order_id
             where o.price is not null
               and (l.goods is not goods_total or l.wrong_lines + l.foreign_lines + l.doubled > 0
                    or price_total is not goods_total + shipping - discount
                    or o.total_minor is not price_total or o.currency is not o.price ->> '$.total.currency')",
    },
    Check {
        id: "I16",
        name: "price-snapshots",
        title: "wish, reservation, order, journal: same lines, same prices",
        about: "orders with a price",
        scope: Scope::Across,
        count: "select count(*) from orders.orders o join at_rest r on r.order_id = o.order_id
                 where o.price is not null",
        violations: "
            with snapshot as (
                select o.order_id,
                       (select group_concat((w.value ->> 0) || ' x ' || (w.value ->> 1), ', ' order by w.value ->> 0)
                          from json_each(s.input, '$.lines') w) as wished,
                       (select group_concat(v.sku || ' x ' || v.quantity, ', ' order by v.sku)
                          from inventory.reservation_line v where v.order_id = o.order_id) as promised,
                       (select group_concat(v.sku || ' x ' || v.quantity || ' at ' || v.unit_price || ' ' || v.currency,
                                            ', ' order by v.sku)
                          from inventory.reservation_line v where v.order_id = o.order_id) as reserved,
                       (select group_concat((p.value ->> 'sku') || ' x ' || (p.value ->> 'quantity') || ' at '
                                            || (p.value ->> '$.unit_price.minor') || ' '
                                            || (p.value ->> '$.unit_price.currency'),
                                            ', ' order by p.value ->> 'sku')
                          from json_each(o.price, '$.lines') p) as ordered,
                       (select group_concat((j.value ->> 'sku') || ' x ' || (j.value ->> 'quantity') || ' at '
                                            || (j.value ->> '$.unit_price.minor') || ' '
                                            || (j.value ->> '$.unit_price.currency'),
                                            ', ' order by j.value ->> 'sku')
                          from json_each(s.journal, '$.steps') t, json_each(t.value, '$.output.lines') j
                         where t.value ->> 'name' = 'reserve_stock') as journalled
                  from orders.orders o
                  join at_rest r on r.order_id = o.order_id
                  join orchestrator.saga s on s.id = o.order_id
                 where o.price is not null
            )
            select order_id, wished, reserved, ordered, journalled
              from snapshot
             where wished is not promised or reserved is not ordered or journalled <> reserved",
    },
];
