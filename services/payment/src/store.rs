//! Where payments and wallets are kept: the rows of a batch, and what readers may ask.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use spillway_storage::{
    Committer, Resources, Rules, StoreError, Tracked,
    bus::Event,
    database::{Database, DatabaseUrl, Schema},
    group_commit::{self, Limits},
    idempotency::{self, Key},
};
use spillway_types::{BuyerId, EventId, Fault, OrderId, RequestId, Timestamp};

use self::{
    postgres::{PgReader, PgStore},
    sqlite::{SqliteReader, SqliteStore},
};
use crate::{
    DATABASE,
    domain::{
        Answer, Command, Coupon, CouponKey, Decision, Effects, Payment, Refund, RefundKey, State, Transfer, View,
        Wallet, command::Once, decide,
    },
};

pub mod postgres;
pub mod sqlite;
mod values;
mod wanted;

/// Published at every change of a payment; key is the order id, sequence the payment's version.
pub const TOPIC_PAYMENT: &str = "payment.payment";

/// The rows that one batch touches.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) payments: Tracked<OrderId, Payment>,
    pub(crate) refunds: Tracked<RefundKey, Refund>,
    pub(crate) wallets: Tracked<BuyerId, Wallet>,
    pub(crate) coupons: Tracked<CouponKey, Coupon>,
    pub(crate) records: idempotency::Records,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) events: Vec<Event>,
}

/// The till's rules, as group commit wants them.
#[derive(Clone, Copy, Debug)]
pub struct Till;

/// Where a list of payments, newest first, goes on: behind this moment and id.
pub type Cursor = (Timestamp, OrderId);

/// Something that the provider has to be asked, left behind by a crash or by its silence.
pub type Unsettled = (OrderId, Option<RequestId>);

/// What can be asked beside the writer.
#[async_trait]
pub trait Reader: Send + Sync + 'static {
    /// A payment, tombstone or recorded refusal.
    async fn payment(&self, payment_id: OrderId) -> Result<Option<Payment>, StoreError>;
    /// Payments in one of `states` (all when empty), newest first, from the one behind `after`.
    async fn payments(&self, states: &[State], after: Option<Cursor>, limit: u32) -> Result<Vec<Payment>, StoreError>;
    /// A buyer's wallet, empty when nothing was ever put into it, and all coupons by code.
    async fn wallet(&self, buyer: &BuyerId) -> Result<(Wallet, Vec<Coupon>), StoreError>;
    /// Takes up payments and refunds that wait for the provider, have not changed for `idle` and are not in the hands of
    /// another settler; or were left behind by a process that cannot be running any more. Of each kind at most `limit`,
    /// what waited longest first. Nobody else is given them before `claim` is over; by then whoever took them up has
    /// settled them, or has died or stood still, and must leave them alone.
    async fn take_up(&self, idle: Duration, claim: Duration, limit: u32) -> Result<Vec<Unsettled>, StoreError>;
    /// Whether the store answers.
    async fn check(&self) -> Result<(), StoreError>;
}

/// The tables, as each kind of database has them.
pub const SCHEMA: Schema = Schema { file: DATABASE, sqlite: sqlite::STEPS, postgres: postgres::STEPS };

/// Opens payments and wallets wherever the settings say they are, and starts the writer.
///
/// # Errors
/// When the database cannot be opened or its schema is not what it must be.
pub async fn open(
    url: &DatabaseUrl,
    limits: Limits,
    resources: &Resources,
) -> Result<(Database, Committer<Till>, Arc<dyn Reader>), StoreError> {
    let database = Database::open(url, &resources.data, &SCHEMA).await?;
    let (committer, reader): (_, Arc<dyn Reader>) = match &database {
        Database::Sqlite(file) => {
            let store = SqliteStore::new(file, Arc::clone(&resources.clock)).await?;
            let reader = SqliteReader::new(file.clone(), Arc::clone(&resources.clock));
            (group_commit::spawn(store, limits), Arc::new(reader))
        }
        Database::Postgres(server) => {
            (group_commit::spawn(PgStore::new(server), limits), Arc::new(PgReader::new(server.clone())))
        }
    };
    Ok((database, committer, reader))
}

// === impl Till ===

impl Rules for Till {
    type Command = Command;
    type Answer = Result<Answer, Fault>;
    type Rows = Rows;

    fn decide(rows: &mut Rows, command: &Command, now: Timestamp) -> Result<Answer, Fault> {
        match command {
            Command::Refund(once) => remembered(rows, command, once, now),
            Command::GrantPoints(once) => remembered(rows, command, once, now),
            Command::IssueCoupon(once) => remembered(rows, command, once, now),
            Command::Authorize { .. }
            | Command::Capture(_)
            | Command::Void(_)
            | Command::Settle { .. }
            | Command::Resume { .. } => {
                let decision = decide(rows, command, now);
                rows.apply(decision.effects);
                decision.answer
            }
        }
    }
}

/// Decides a command whose record is kept apart from its domain row. What is kept is that it was accepted, or the
/// refusal that it is given for ever; how things stand is read afresh.
fn remembered<T>(rows: &mut Rows, command: &Command, once: &Once<T>, now: Timestamp) -> Result<Answer, Fault> {
    let key = record_key(command, once);
    let known = idempotency::replay::<Result<(), Fault>>(&rows.records, &key, &once.fingerprint)?;
    match (&known, command) {
        (Some(Err(refusal)), _) => return Err(refusal.clone()),
        (Some(Ok(())), Command::GrantPoints(_) | Command::IssueCoupon(_)) => return Ok(Answer::Wallet),
        _ => {}
    }
    let Decision { answer, effects } = decide(rows, command, now);
    rows.apply(effects);
    let outcome: Result<(), Fault> = answer.as_ref().map(drop).map_err(Clone::clone);
    if known.is_none() && outcome.as_ref().err().is_none_or(Fault::is_recorded) {
        idempotency::remember(&mut rows.records, key, once.fingerprint.clone(), &outcome, now);
    }
    answer
}

/// The key under which a command's record is kept.
fn record_key<T>(command: &Command, once: &Once<T>) -> Key {
    let scope = match command {
        Command::Refund(_) => "Refund",
        Command::GrantPoints(_) => "GrantPoints",
        Command::IssueCoupon(_) => "IssueCoupon",
        Command::Authorize { .. }
        | Command::Capture(_)
        | Command::Void(_)
        | Command::Settle { .. }
        | Command::Resume { .. } => "",
    };
    Key { scope: scope.to_owned(), request_id: once.request_id }
}

// === impl Rows ===

impl Rows {
    pub(crate) fn apply(&mut self, effects: Effects) {
        let Effects { payment, refund, holding } = effects;
        if let Some(payment) = payment {
            if payment.version > 0 {
                self.events.push(event(&payment));
            }
            self.payments.put(payment.payment_id, payment);
        }
        if let Some(refund) = refund {
            self.refunds.put(refund.key, refund);
        }
        if let Some((wallet, transfer)) = holding.wallet {
            self.wallets.put(wallet.buyer.clone(), wallet);
            self.transfers.push(transfer);
        }
        if let Some(coupon) = holding.coupon {
            self.coupons.put(coupon.key(), coupon);
        }
    }
}

impl View for Rows {
    fn payment(&self, payment_id: OrderId) -> Option<&Payment> {
        self.payments.get(&payment_id)
    }

    fn refund(&self, key: &RefundKey) -> Option<&Refund> {
        self.refunds.get(key)
    }

    fn wallet(&self, buyer: &BuyerId) -> Option<&Wallet> {
        self.wallets.get(buyer)
    }

    fn coupon(&self, key: &CouponKey) -> Option<&Coupon> {
        self.coupons.get(key)
    }
}

fn event(payment: &Payment) -> Event {
    let asked = payment.asked.as_ref();
    let payload = serde_json::json!({
        "order_id": payment.payment_id,
        "buyer_id": asked.map(|asked| &asked.buyer),
        "state": payment.state.as_str(),
        "amount": asked.map(|asked| asked.amount),
        "paid": asked.map(|asked| asked.tenders.paid().total()),
        "refunded": payment.refunded.total(),
    });
    Event {
        event_id: EventId::random(),
        topic: TOPIC_PAYMENT.to_owned(),
        key: payment.payment_id.to_string(),
        sequence: payment.version,
        occurred_at: payment.updated_at,
        payload: payload.to_string(),
    }
}

#[cfg(test)]
mod tests;
