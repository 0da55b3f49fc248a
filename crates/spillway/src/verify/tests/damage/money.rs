//! Damage to payments, wallets, and what the provider has.

use spillway_order::DATABASE as ORDER;
use spillway_payment::{DATABASE as PAYMENT, SANDBOX_DATABASE as SANDBOX};

use super::Damage;

pub(super) const ALL: &[Damage] = &[
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
