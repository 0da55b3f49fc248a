//! Reading rows of the service's tables into the domain, most of them with a lock.

use std::collections::BTreeSet;

use spillway_storage::{StoreError, Tracked, postgres::column};
use spillway_types::{BuyerId, Fingerprint, Money, OrderId, RequestId, Timestamp};
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    domain::{Asked, Coupon, CouponKey, Payment, Refund, RefundKey, Shares, Tenders, Wallet},
    store::values::{fault, moment, parsed},
};

/// Columns of a payment, in the order that [`payment`] reads them.
pub(super) const PAYMENT_COLUMNS: &str =
    "payment_id, state, version, fingerprint, buyer_id, currency, amount, coupon_code, discount, points, method,
     instrument, provider_reference, decline, void_reason, authorized_at, claimed_points, claimed_method,
     refunded_points, refunded_method, created_at, updated_at";
/// Columns of a wallet, in the order that [`wallet`] reads them.
const WALLET_COLUMNS: &str = "buyer_id, available, held, issued, spent, version";
/// Columns of a coupon `c`, in the order that [`coupon`] reads them.
const COUPON_COLUMNS: &str =
    "c.buyer_id, c.code, c.currency, c.discount, c.minimum, c.expires_at, c.state, c.payment_id, c.version";

/// Locks payments, which locks their refunds as well.
pub(super) async fn lock_payments(
    connection: &mut PgConnection,
    wanted: &BTreeSet<OrderId>,
) -> Result<Vec<Payment>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {PAYMENT_COLUMNS} from payment where payment_id = any($1) order by payment_id for update"
    )))
    .bind(column(wanted, |payment_id| payment_id.uuid()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("locking payments"))?;
    rows.iter().map(payment).collect()
}

pub(super) fn payment(row: &PgRow) -> Result<Payment, StoreError> {
    let text = |column: usize| row.get::<Option<&str>, _>(column);
    let shares = |points: usize, method: usize| Shares { points: row.get(points), method: row.get(method) };
    let asked = match (text(3), text(4), text(5)) {
        (Some(fingerprint), Some(buyer), Some(currency)) => Some(Asked {
            buyer: parsed(buyer)?,
            fingerprint: Fingerprint::stored(fingerprint.to_owned()),
            amount: Money::new(row.get(6), parsed(currency)?),
            tenders: Tenders {
                coupon: text(7).map(parsed).transpose()?,
                discount: row.get(8),
                points: row.get(9),
                method: row.get(10),
            },
            instrument: row.get(11),
        }),
        _ => None,
    };
    Ok(Payment {
        payment_id: OrderId::new(row.get(0)),
        state: parsed(row.get(1))?,
        version: row.get(2),
        asked,
        decline: fault(text(13))?,
        void_reason: row.get(14),
        provider_reference: row.get(12),
        authorized_at: moment(row.get(15)),
        claimed: shares(16, 17),
        refunded: shares(18, 19),
        created_at: Timestamp::from_micros(row.get(20)),
        updated_at: Timestamp::from_micros(row.get(21)),
    })
}

/// All refunds of payments that are locked, which locks the refunds as well.
pub(super) async fn refunds(
    connection: &mut PgConnection,
    payments: &BTreeSet<OrderId>,
) -> Result<Tracked<RefundKey, Refund>, StoreError> {
    if payments.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(
        "select payment_id, request_id, currency, points, method, state, reason, decline, created_at, updated_at
           from refund where payment_id = any($1)",
    )
    .bind(column(payments, |payment_id| payment_id.uuid()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("reading refunds"))?;
    let refunds = rows.iter().map(|row| refund(row).map(|refund| (refund.key, refund)));
    Ok(Tracked::loaded(refunds.collect::<Result<Vec<_>, _>>()?))
}

fn refund(row: &PgRow) -> Result<Refund, StoreError> {
    Ok(Refund {
        key: (OrderId::new(row.get(0)), RequestId::new(row.get(1))),
        currency: parsed(row.get(2))?,
        shares: Shares { points: row.get(3), method: row.get(4) },
        state: parsed(row.get(5))?,
        reason: row.get(6),
        decline: fault(row.get(7))?,
        created_at: Timestamp::from_micros(row.get(8)),
        updated_at: Timestamp::from_micros(row.get(9)),
    })
}

pub(super) async fn lock_wallets(
    connection: &mut PgConnection,
    buyers: &BTreeSet<BuyerId>,
) -> Result<Tracked<BuyerId, Wallet>, StoreError> {
    if buyers.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {WALLET_COLUMNS} from wallet where buyer_id = any($1) order by buyer_id for update"
    )))
    .bind(column(buyers, BuyerId::as_str))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("locking wallets"))?;
    let wallets = rows.iter().map(|row| wallet(row).map(|wallet| (wallet.buyer.clone(), wallet)));
    Ok(Tracked::loaded(wallets.collect::<Result<Vec<_>, _>>()?))
}

pub(super) async fn wallet_of(connection: &mut PgConnection, buyer: &BuyerId) -> Result<Option<Wallet>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("select {WALLET_COLUMNS} from wallet where buyer_id = $1"));
    let row = sqlx::query(sql).bind(buyer.as_str()).fetch_optional(connection).await;
    row.map_err(StoreError::database("reading a wallet"))?.as_ref().map(wallet).transpose()
}

fn wallet(row: &PgRow) -> Result<Wallet, StoreError> {
    Ok(Wallet {
        buyer: parsed(row.get(0))?,
        available: row.get(1),
        held: row.get(2),
        issued: row.get(3),
        spent: row.get(4),
        version: row.get(5),
    })
}

pub(super) async fn lock_coupons(
    connection: &mut PgConnection,
    wanted: &BTreeSet<CouponKey>,
) -> Result<Tracked<CouponKey, Coupon>, StoreError> {
    if wanted.is_empty() {
        return Ok(Tracked::default());
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {COUPON_COLUMNS}
           from coupon c
           join unnest($1::text[], $2::text[]) k (buyer_id, code) on c.buyer_id = k.buyer_id and c.code = k.code
          order by c.buyer_id, c.code
            for update of c"
    )))
    .bind(column(wanted, |(buyer, _)| buyer.as_str()))
    .bind(column(wanted, |(_, code)| code.as_str()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("locking coupons"))?;
    let coupons = rows.iter().map(|row| coupon(row).map(|coupon| (coupon.key(), coupon)));
    Ok(Tracked::loaded(coupons.collect::<Result<Vec<_>, _>>()?))
}

/// All coupons of a buyer, by code.
pub(super) async fn coupons_of(connection: &mut PgConnection, buyer: &BuyerId) -> Result<Vec<Coupon>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("select {COUPON_COLUMNS} from coupon c where buyer_id = $1 order by code"));
    let rows = sqlx::query(sql).bind(buyer.as_str()).fetch_all(connection).await;
    rows.map_err(StoreError::database("reading a buyer's coupons"))?.iter().map(coupon).collect()
}

fn coupon(row: &PgRow) -> Result<Coupon, StoreError> {
    Ok(Coupon {
        buyer: parsed(row.get(0))?,
        code: parsed(row.get(1))?,
        discount: Money::new(row.get(3), parsed(row.get(2))?),
        minimum: row.get(4),
        expires_at: moment(row.get(5)),
        state: parsed(row.get(6))?,
        payment_id: row.get::<Option<_>, _>(7).map(OrderId::new),
        version: row.get(8),
    })
}
