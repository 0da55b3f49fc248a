//! Wallets: points in double entry, coupons used once.

use super::check::{Check, Scope};

const WALLETS: &str = "select count(*) from payment.wallet";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "I17",
        name: "transfers",
        title: "the two entries of every transfer of points sum to zero",
        about: "transfers",
        scope: Scope::Within,
        count: "select count(*) from (select 1 from payment.wallet_entry group by buyer_id, transfer_id)",
        violations: "
            select buyer_id || ' ' || transfer_id as transfer, count(*) as entries, sum(points) as sum
              from payment.wallet_entry
             group by buyer_id, transfer_id
            having count(*) <> 2 or sum(points) <> 0",
    },
    Check {
        id: "I17",
        name: "wallet-balances",
        title: "a wallet's balances are the sums of its entries",
        about: "wallets",
        scope: Scope::Within,
        count: WALLETS,
        violations: "
            with entries as (
                select buyer_id, coalesce(sum(points) filter (where account = 'points:available'), 0) as available,
                       coalesce(sum(points) filter (where account = 'points:held'), 0) as held,
                       coalesce(sum(points) filter (where account = 'points:issued'), 0) as issued,
                       coalesce(sum(points) filter (where account = 'points:spent'), 0) as spent
                  from payment.wallet_entry group by buyer_id
            )
            select coalesce(w.buyer_id, e.buyer_id) as buyer_id, w.available, e.available as entries_available,
                   w.held, e.held as entries_held, w.issued, e.issued as entries_issued, w.spent,
                   e.spent as entries_spent
              from entries e
              full join payment.wallet w on w.buyer_id = e.buyer_id
             where (w.available, w.held, w.issued, w.spent) is not
                   (coalesce(e.available, 0), coalesce(e.held, 0), coalesce(e.issued, 0), coalesce(e.spent, 0))
                or w.available + w.held + w.issued + w.spent <> 0",
    },
    Check {
        id: "I17",
        name: "points-in-use",
        title: "points held and spent are those of the buyer's payments",
        about: "wallets",
        scope: Scope::Within,
        count: WALLETS,
        violations: "
            with paid as (
                select buyer_id,
                       sum(case when state in ('AUTHORIZING', 'AUTHORIZED', 'CAPTURING') then points else 0 end) as held,
                       sum(case when state in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED')
                                then points - refunded_points else 0 end) as spent
                  from payment.payment where buyer_id is not null group by buyer_id
            )
            select coalesce(w.buyer_id, p.buyer_id) as buyer_id, w.held, p.held as payments_hold, w.spent,
                   p.spent as payments_spent
              from paid p
              full join payment.wallet w on w.buyer_id = p.buyer_id
             where coalesce(w.held, 0) <> coalesce(p.held, 0) or coalesce(w.spent, 0) <> coalesce(p.spent, 0)",
    },
    Check {
        id: "I17",
        name: "coupons",
        title: "a coupon is held or spent for one payment, at its worth",
        about: "coupons in use",
        scope: Scope::Within,
        count: "select count(*) from payment.coupon where state <> 'AVAILABLE'",
        violations: "
            with used as (
                select buyer_id, coupon_code as code, payment_id, discount, amount,
                       case when state in ('AUTHORIZING', 'AUTHORIZED', 'CAPTURING') then 'HELD'
                            when state in ('CAPTURED', 'PARTIALLY_REFUNDED', 'REFUNDED') then 'SPENT' end as needed
                  from payment.payment where coupon_code is not null
            )
            select coalesce(c.buyer_id, u.buyer_id) || ' ' || coalesce(c.code, u.code) as coupon, c.state,
                   c.payment_id, u.payment_id as used_by, u.needed, u.discount, c.discount as worth
              from (select * from used where needed is not null) u
              full join payment.coupon c
                on c.buyer_id = u.buyer_id and c.code = u.code and c.payment_id = u.payment_id
             where (u.code is not null or c.state <> 'AVAILABLE')
               and (c.state is not u.needed or u.discount is not min(c.discount, u.amount))",
    },
];
