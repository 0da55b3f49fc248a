//! The keys of all rows that a batch of commands may touch. The same for every backend.

use std::collections::BTreeSet;

use spillway_storage::idempotency::Key;
use spillway_types::{BuyerId, OrderId};

use super::record_key;
use crate::domain::{Command, CouponKey, Payment};

/// The keys that a batch needs.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) payments: BTreeSet<OrderId>,
    /// Payments of which all refunds are needed.
    pub(super) refunds: BTreeSet<OrderId>,
    pub(super) wallets: BTreeSet<BuyerId>,
    pub(super) coupons: BTreeSet<CouponKey>,
    pub(super) records: Vec<Key>,
}

// === impl Wanted ===

impl Wanted {
    /// What the commands name themselves. What their payments hold comes to light when those are read.
    pub(super) fn by(commands: &[Command]) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            match command {
                Command::Authorize { body, .. } => {
                    wanted.payments.insert(body.payment_id);
                    wanted.wallets.extend((body.points > 0).then(|| body.buyer.clone()));
                    wanted.coupons.extend(body.coupon.clone().map(|code| (body.buyer.clone(), code)));
                }
                Command::Capture(payment_id) => drop(wanted.payments.insert(*payment_id)),
                Command::Void(void) => drop(wanted.payments.insert(void.payment_id)),
                Command::Refund(once) => {
                    wanted.payments.insert(once.body.payment_id);
                    wanted.refunds.insert(once.body.payment_id);
                    wanted.records.push(record_key(command, once));
                }
                Command::Settle { payment_id, outcome } => {
                    wanted.payments.insert(*payment_id);
                    wanted.refunds.extend(outcome.refund().map(|_| *payment_id));
                }
                Command::Resume { payment_id, refund } => {
                    wanted.payments.insert(*payment_id);
                    wanted.refunds.extend(refund.map(|_| *payment_id));
                }
                Command::GrantPoints(once) => {
                    wanted.wallets.insert(once.body.buyer.clone());
                    wanted.records.push(record_key(command, once));
                }
                Command::IssueCoupon(once) => {
                    wanted.coupons.insert((once.body.buyer.clone(), once.body.code.clone()));
                    wanted.records.push(record_key(command, once));
                }
            }
        }
        wanted
    }

    /// A payment that moves on touches what it holds.
    pub(super) fn holding_of(&mut self, payment: &Payment) {
        if let Some(asked) = &payment.asked {
            self.wallets.extend((asked.tenders.points > 0).then(|| asked.buyer.clone()));
            self.coupons.extend(asked.tenders.coupon.clone().map(|code| (asked.buyer.clone(), code)));
        }
    }
}
