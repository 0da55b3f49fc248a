//! Inventory's ledger: balances, the journal behind them, and each promise's one end.

use spillway_inventory::domain::State;

use super::check::{Check, Scope};

/// The moves a promise may make, as its events tell them.
pub(super) fn moves() -> Vec<(&'static str, Option<&'static str>, &'static str)> {
    let first = [State::Held, State::Pinned].map(|state| ("reservation", None, state.as_str()));
    let later = State::ALL.into_iter().flat_map(|from| {
        let to = State::ALL.into_iter().filter(move |to| from.may_become(*to));
        to.map(move |to| ("reservation", Some(from.as_str()), to.as_str()))
    });
    first.into_iter().chain(later).collect()
}

const ITEMS: &str = "select count(*) from inventory.item";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "I1",
        name: "item-balances",
        title: "on hand = available + held + sold, none negative",
        about: "items",
        scope: Scope::Within,
        count: ITEMS,
        violations: "
            select sku, on_hand, available, held, sold_unshipped
              from inventory.item
             where on_hand <> available + held + sold_unshipped or min(available, held, sold_unshipped) < 0",
    },
    Check {
        id: "I1",
        name: "item-journal",
        title: "the movements of an item sum to its balances",
        about: "items",
        scope: Scope::Within,
        count: ITEMS,
        violations: "
            with journal as (
                select sku, sum(on_hand) as on_hand, sum(available) as available, sum(held) as held,
                       sum(sold_unshipped) as sold_unshipped
                  from inventory.movement group by sku
            )
            select coalesce(i.sku, j.sku) as sku, i.on_hand, j.on_hand as moved_on_hand,
                   i.available, j.available as moved_available, i.held, j.held as moved_held,
                   i.sold_unshipped, j.sold_unshipped as moved_sold_unshipped
              from journal j
              full join inventory.item i on i.sku = j.sku
             where (i.on_hand, i.available, i.held, i.sold_unshipped) is not
                   (coalesce(j.on_hand, 0), coalesce(j.available, 0), coalesce(j.held, 0), coalesce(j.sold_unshipped, 0))",
    },
    Check {
        id: "I1",
        name: "journal-history",
        title: "so they did after every movement",
        about: "movements",
        scope: Scope::Within,
        count: "select count(*) from inventory.movement",
        violations: "
            with running as (
                select position, sku, kind, order_id, at,
                       on_hand - available - held - sold_unshipped as imbalance,
                       sum(available) over past as available,
                       sum(held) over past as held,
                       sum(sold_unshipped) over past as sold_unshipped
                  from inventory.movement
                window past as (partition by sku order by position)
            )
            select position, sku, kind, order_id, imbalance, available, held, sold_unshipped,
                   strftime('%FT%TZ', at / 1000000, 'unixepoch') as moment
              from running
             where imbalance <> 0 or min(available, held, sold_unshipped) < 0
             order by position",
    },
    Check {
        id: "I1",
        name: "held-and-sold",
        title: "held is what live promises hold, sold is what was confirmed",
        about: "items",
        scope: Scope::Within,
        count: ITEMS,
        violations: "
            with promised as (
                select l.sku, sum(case when r.state in ('HELD', 'PINNED') then l.quantity else 0 end) as held,
                       sum(l.confirmed) as confirmed
                  from inventory.reservation_line l
                  join inventory.reservation r on r.order_id = l.order_id
                 group by l.sku
            ),
            sold as (
                select sku, sum(sold_unshipped) as units from inventory.movement where kind = 'CONFIRM' group by sku
            )
            select i.sku, i.held, coalesce(p.held, 0) as promised, coalesce(s.units, 0) as sold,
                   coalesce(p.confirmed, 0) as confirmed
              from inventory.item i
              left join promised p on p.sku = i.sku
              left join sold s on s.sku = i.sku
             where i.held <> coalesce(p.held, 0) or coalesce(s.units, 0) <> coalesce(p.confirmed, 0)",
    },
    Check {
        id: "I2",
        name: "promise-ends",
        title: "each promise was made once and has at most one end",
        about: "promised lines",
        scope: Scope::Within,
        count: "select count(*) from inventory.reservation_line",
        // What left `held` on account of a promise, beside what its state says must have left.
        violations: "
            with moved as (
                select order_id, sku, count(*) filter (where kind = 'HOLD') as holds,
                       coalesce(sum(held) filter (where kind = 'HOLD'), 0) as held,
                       coalesce(-sum(held) filter (where kind = 'CONFIRM'), 0) as confirmed,
                       coalesce(-sum(held) filter (where kind = 'RELEASE'), 0) as released,
                       coalesce(-sum(held) filter (where kind = 'EXPIRE'), 0) as expired
                  from inventory.movement where order_id is not null group by order_id, sku
            )
            select coalesce(l.order_id, m.order_id) as order_id, coalesce(l.sku, m.sku) as sku, r.state, l.quantity,
                   l.confirmed, m.holds, m.held as moved_held, m.confirmed as moved_confirmed,
                   m.released as moved_released, m.expired as moved_expired
              from moved m
              full join inventory.reservation_line l on l.order_id = m.order_id and l.sku = m.sku
              left join inventory.reservation r on r.order_id = l.order_id
             where r.state is null or m.holds is not 1
                or (m.held, m.confirmed, m.released, m.expired) is not (
                    l.quantity,
                    iif(r.state = 'CONFIRMED', l.confirmed, 0),
                    case r.state when 'CONFIRMED' then l.quantity - l.confirmed when 'RELEASED' then l.quantity
                                 else 0 end,
                    iif(r.state = 'EXPIRED', l.quantity, 0))",
    },
    Check {
        id: "I5",
        name: "stock-keys",
        title: "each counted change of stock was asked for once",
        about: "adjustments of the last 29 days",
        scope: Scope::Within,
        count: "select count(*) from inventory.movement
                 where kind = 'ADJUST' and at > (select kept_since from moment)",
        // A command's record and its movement are written with the same moment.
        violations: "
            with both (sku, at, asked, moved) as (
                select sku, at, 0, 1 from inventory.movement where kind = 'ADJUST'
                union all
                select answer ->> '$.Item.sku', created_at, 1, 0 from inventory.idempotency
                 where scope = 'AdjustStock' or scope = 'CreateItem' and answer ->> '$.Item.on_hand' <> 0
            )
            select sku || ' ' || at as sku_and_moment, sum(asked) as asked, sum(moved) as moved
              from both where at > (select kept_since from moment)
             group by sku, at having sum(asked) <> sum(moved)",
    },
    Check {
        id: "I11",
        name: "promise-moves",
        title: "promises made only legal moves",
        about: "moves",
        scope: Scope::Within,
        count: "select count(*) from inventory.outbox where topic = 'inventory.reservation'",
        violations: "
            with told as (
                select key, sequence, payload ->> 'state' as state,
                       lag(payload ->> 'state') over (partition by key order by sequence) as before
                  from inventory.outbox where topic = 'inventory.reservation'
            )
            select t.key as order_id, t.sequence, t.before as from_state, t.state as to_state
              from told t
             where not exists (select 1 from state_move m
                                where m.kind = 'reservation' and m.from_state is t.before and m.to_state = t.state)",
    },
    Check {
        id: "I14",
        name: "oversold",
        title: "never more promised and sold than was stocked",
        about: "items",
        scope: Scope::Within,
        count: ITEMS,
        violations: "
            with stocked as (
                select sku, sum(on_hand) as units from inventory.movement where kind = 'ADJUST' group by sku
            ),
            taken as (
                select l.sku, sum(case when r.state in ('HELD', 'PINNED') then l.quantity else l.confirmed end) as units
                  from inventory.reservation_line l
                  join inventory.reservation r on r.order_id = l.order_id
                 group by l.sku
            )
            select t.sku, coalesce(s.units, 0) as stocked, t.units as promised_or_sold
              from taken t
              left join stocked s on s.sku = t.sku
             where t.units > coalesce(s.units, 0)",
    },
];
