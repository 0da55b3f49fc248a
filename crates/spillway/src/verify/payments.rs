//! Payments: money taken and given back, by our books and by the provider's.

use spillway_payment::domain::{Event, state::STATES};

use super::check::{Check, Scope};

/// Everything that can happen to a payment.
const EVENTS: [Event; 10] = [
    Event::Authorized,
    Event::Declined,
    Event::CaptureAsked,
    Event::Captured,
    Event::CaptureDeclined,
    Event::VoidAsked,
    Event::Voided,
    Event::RefundClaimed,
    Event::RefundedPart,
    Event::RefundedAll,
];

/// The moves a payment may make, as its events tell them. It begins by asking the provider, or without one.
pub(super) fn moves() -> Vec<(&'static str, Option<&'static str>, &'static str)> {
    let first = ["AUTHORIZING", "AUTHORIZED"].map(|state| ("payment", None, state));
    let later = STATES.iter().flat_map(|(from, name)| {
        let to = EVENTS.iter().filter_map(|event| from.next(*event));
        to.map(|to| ("payment", Some(*name), to.as_str()))
    });
    first.into_iter().chain(later).collect()
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "I3",
        name: "money-and-goods",
        title: "no money without an order, no goods without money",
        about: "payments and sales",
        scope: Scope::Across,
        count: "select (select count(*) from payment.payment where state in ('CAPTURED', 'PARTIALLY_REFUNDED'))
                     + (select count(*) from inventory.reservation v join at_rest r on r.order_id = v.order_id
                         where v.state = 'CONFIRMED')",
        // An order that stands anywhere else is judged by the checks of paid and of cancelled orders.
        violations: "
            select p.payment_id as order_id, 'captured without a paid order' as what, p.state as payment,
                   o.state as order_state, null as reservation
              from payment.payment p
              left join orders.orders o on o.order_id = p.payment_id
              left join orchestrator.saga s on s.id = p.payment_id
             where p.state in ('CAPTURED', 'PARTIALLY_REFUNDED')
               and p.points + p.method > p.refunded_points + p.refunded_method
               and p.updated_at <= (select quiet_since from moment)
               and (s.id is null or s.id in (select order_id from at_rest))
               and (o.state is null or o.state in ('PENDING', 'AWAITING_PAYMENT'))
            union all
            select v.order_id, 'sold without a captured payment', p.state, o.state, v.state
              from inventory.reservation v
              join at_rest r on r.order_id = v.order_id
              left join payment.payment p on p.payment_id = v.order_id
              left join orders.orders o on o.order_id = v.order_id
             where v.state = 'CONFIRMED'
               and coalesce(p.state, '') not in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED')
               and (o.state is null or o.state in ('PENDING', 'AWAITING_PAYMENT'))",
    },
    Check {
        id: "I4",
        name: "payment-amounts",
        title: "refunded <= promised back <= captured <= authorised",
        about: "payments",
        scope: Scope::Within,
        count: "select count(*) from payment.payment where version > 0",
        violations: "
            with given as (
                select payment_id, sum(points) filter (where state = 'DONE') as done_points,
                       sum(method) filter (where state = 'DONE') as done_method,
                       sum(points) filter (where state <> 'DECLINED') as claimed_points,
                       sum(method) filter (where state <> 'DECLINED') as claimed_method
                  from payment.refund group by payment_id
            )
            select p.payment_id, p.state, p.amount, p.discount, p.points, p.method,
                   p.claimed_points, g.claimed_points as refunds_claim_points,
                   p.claimed_method, g.claimed_method as refunds_claim_method,
                   p.refunded_points, g.done_points as refunds_gave_points,
                   p.refunded_method, g.done_method as refunds_gave_method
              from payment.payment p
              left join given g on g.payment_id = p.payment_id
             where p.version > 0 and p.discount + p.points + p.method is not p.amount
                or (p.claimed_points, p.claimed_method, p.refunded_points, p.refunded_method) is not
                   (coalesce(g.claimed_points, 0), coalesce(g.claimed_method, 0),
                    coalesce(g.done_points, 0), coalesce(g.done_method, 0))
                or p.refunded_points > p.claimed_points or p.claimed_points > p.points
                or p.refunded_method > p.claimed_method or p.claimed_method > p.method
                or p.state <> case
                    when p.state not in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED')
                        then iif(p.claimed_points + p.claimed_method = 0, p.state, 'CAPTURED')
                    when p.refunded_points + p.refunded_method = 0 then 'CAPTURED'
                    when p.refunded_points + p.refunded_method < p.points + p.method then 'PARTIALLY_REFUNDED'
                    else 'REFUNDED' end",
    },
    Check {
        id: "I4",
        name: "one-capture",
        title: "a payment was captured at most once",
        about: "captured payments",
        scope: Scope::Within,
        count: "select count(*) from payment.payment where state in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED')",
        violations: "
            with told as (
                select key, payload ->> 'state' as state,
                       lag(payload ->> 'state') over (partition by key order by sequence) as before
                  from payment.outbox where topic = 'payment.payment'
            )
            select key as payment_id, count(*) as captures
              from told where state = 'CAPTURED' and before is not 'CAPTURED'
             group by key having count(*) > 1",
    },
    Check {
        id: "I4",
        name: "provider-charges",
        title: "the provider's charges are what our payments say",
        about: "charges",
        scope: Scope::Provider,
        count: "select count(*) from sandbox.charge",
        // `none`: the provider has not heard of it, which can be so only while it is being asked.
        violations: "
            with agree (ours, theirs) as (
                values ('AUTHORIZING', 'none'), ('AUTHORIZING', 'AUTHORIZED'), ('AUTHORIZING', 'DECLINED'),
                       ('AUTHORIZED', 'AUTHORIZED'), ('DECLINED', 'DECLINED'),
                       ('CAPTURING', 'AUTHORIZED'), ('CAPTURING', 'CAPTURED'), ('CAPTURING', 'CAPTURE_DECLINED'),
                       ('CAPTURED', 'CAPTURED'), ('PARTIALLY_REFUNDED', 'CAPTURED'), ('REFUNDED', 'CAPTURED'),
                       ('VOIDING', 'none'), ('VOIDING', 'AUTHORIZED'), ('VOIDING', 'DECLINED'), ('VOIDING', 'VOIDED'),
                       ('VOIDED', 'VOIDED'), ('VOIDED', 'DECLINED'), ('VOIDED', 'CAPTURE_DECLINED')
            )
            select coalesce(p.payment_id, c.reference) as payment_id, p.state as payment, c.state as charge,
                   p.method as asked_for, c.amount as charged, p.currency, c.currency as charge_currency
              from (select * from payment.payment where method > 0) p
              full join sandbox.charge c on c.reference = p.payment_id
             where coalesce(p.updated_at, 0) <= (select quiet_since from moment)
               and ((p.state, coalesce(c.state, 'none')) not in (select ours, theirs from agree)
                    or p.payment_id is null or c.amount <> p.method or c.currency <> p.currency)",
    },
    Check {
        id: "I4",
        name: "provider-refunds",
        title: "the provider gave back what our refunds say",
        about: "refunds through the provider",
        scope: Scope::Provider,
        count: "select count(*) from payment.refund where method > 0",
        violations: "
            select coalesce(r.reference, b.reference) as refund, r.state, r.method as asked_for, b.amount as given_back,
                   b.charge
              from (select payment_id || ':' || request_id as reference, payment_id, state, method, updated_at
                      from payment.refund where method > 0) r
              full join sandbox.payback b on b.reference = r.reference
             where coalesce(r.updated_at, 0) <= (select quiet_since from moment)
               and (r.reference is null or b.amount <> r.method or b.charge <> r.payment_id
                    or r.state = 'DONE' and b.reference is null
                    or r.state = 'DECLINED' and b.reference is not null)",
    },
    Check {
        id: "I5",
        name: "payment-keys",
        title: "each refund and each grant of points was asked for once",
        about: "refunds and grants of the last 29 days",
        scope: Scope::Within,
        count: "select (select count(*) from payment.refund where created_at > (select kept_since from moment))
                     + (select count(distinct transfer_id) from payment.wallet_entry
                         where transfer_id glob 'grant:*' and at > (select kept_since from moment))",
        violations: "
            with both (request_id, method, at, asked, done) as (
                select substr(transfer_id, 7), 'GrantPoints', at, 0, 1 from payment.wallet_entry
                 where transfer_id glob 'grant:*' and account = 'points:available'
                union all
                select request_id, 'Refund', created_at, 0, 1 from payment.refund
                union all
                select request_id, scope, created_at, 1, 0 from payment.idempotency
                 where scope in ('GrantPoints', 'Refund') and json_type(answer, '$.Ok') is not null
            )
            select request_id, method, sum(asked) as asked, sum(done) as done
              from both where at > (select kept_since from moment)
             group by request_id, method having sum(asked) <> 1 or sum(done) <> 1",
    },
    Check {
        id: "I11",
        name: "payment-moves",
        title: "payments made only legal moves",
        about: "moves",
        scope: Scope::Within,
        count: "select count(*) from payment.outbox where topic = 'payment.payment'",
        violations: "
            with told as (
                select key, sequence, payload ->> 'state' as state,
                       lag(payload ->> 'state') over (partition by key order by sequence) as before
                  from payment.outbox where topic = 'payment.payment'
            )
            select t.key as payment_id, t.sequence, t.before as from_state, t.state as to_state
              from told t
             where not exists (select 1 from state_move m
                                where m.kind = 'payment' and m.from_state is t.before and m.to_state = t.state)",
    },
];
