//! Rows of the service's tables, to and from the domain.

use std::collections::BTreeSet;

use serde::Serialize;
use spillway_storage::{
    StoreError, Tracked,
    sqlite::{json, write},
};
use spillway_types::{BuyerId, Fingerprint, Money, OrderId, Timestamp};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    domain::{Asked, Coupon, CouponKey, Payment, Refund, RefundKey, Shares, Tenders, Transfer, Wallet},
    store::{
        Unsettled,
        values::{fault, fault_text, moment, parsed},
    },
};

/// Columns of a payment, in the order that [`payment`] reads them.
pub(super) const PAYMENT_COLUMNS: &str =
    "payment_id, state, version, fingerprint, buyer_id, currency, amount, coupon_code, discount, points, method,
     instrument, provider_reference, decline, void_reason, authorized_at, claimed_points, claimed_method,
     refunded_points, refunded_method, created_at, updated_at";

pub(super) async fn payments(
    connection: &mut SqliteConnection,
    wanted: &BTreeSet<OrderId>,
) -> Result<Vec<Payment>, StoreError> {
    let sql = format!(
        "select {PAYMENT_COLUMNS} from payment where payment_id in (select value from json_each(?1)) order by payment_id"
    );
    read(connection, "reading payments", sql, wanted).await?.iter().map(payment).collect()
}

pub(super) fn payment(row: &SqliteRow) -> Result<Payment, StoreError> {
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
        payment_id: parsed(row.get(0))?,
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

/// All refunds of the payments.
pub(super) async fn refunds(
    connection: &mut SqliteConnection,
    payments: &BTreeSet<OrderId>,
) -> Result<Tracked<RefundKey, Refund>, StoreError> {
    let sql = "select payment_id, request_id, currency, points, method, state, reason, decline, created_at, updated_at
                 from refund where payment_id in (select value from json_each(?1))";
    let rows = read(connection, "reading refunds", sql.to_owned(), payments).await?;
    let refunds = rows.iter().map(|row| {
        let refund = Refund {
            key: (parsed(row.get(0))?, parsed(row.get(1))?),
            shares: Shares { points: row.get(3), method: row.get(4) },
            currency: parsed(row.get(2))?,
            state: parsed(row.get(5))?,
            reason: row.get(6),
            decline: fault(row.get(7))?,
            created_at: Timestamp::from_micros(row.get(8)),
            updated_at: Timestamp::from_micros(row.get(9)),
        };
        Ok((refund.key, refund))
    });
    Ok(Tracked::loaded(refunds.collect::<Result<Vec<_>, StoreError>>()?))
}

pub(super) async fn wallets(
    connection: &mut SqliteConnection,
    buyers: &BTreeSet<BuyerId>,
) -> Result<Tracked<BuyerId, Wallet>, StoreError> {
    let sql = "select buyer_id, available, held, issued, spent, version
                 from wallet where buyer_id in (select value from json_each(?1))";
    let rows = read(connection, "reading wallets", sql.to_owned(), buyers).await?;
    let wallets = rows.iter().map(|row| {
        let wallet = Wallet {
            buyer: parsed(row.get(0))?,
            available: row.get(1),
            held: row.get(2),
            issued: row.get(3),
            spent: row.get(4),
            version: row.get(5),
        };
        Ok((wallet.buyer.clone(), wallet))
    });
    Ok(Tracked::loaded(wallets.collect::<Result<Vec<_>, StoreError>>()?))
}

pub(super) async fn coupons(
    connection: &mut SqliteConnection,
    wanted: &BTreeSet<CouponKey>,
) -> Result<Tracked<CouponKey, Coupon>, StoreError> {
    let sql =
        "select c.buyer_id, c.code, c.currency, c.discount, c.minimum, c.expires_at, c.state, c.payment_id, c.version
                 from json_each(?1) k
                 join coupon c on c.buyer_id = k.value ->> 0 and c.code = k.value ->> 1";
    let rows = read(connection, "reading coupons", sql.to_owned(), wanted).await?;
    let coupons = rows.iter().map(|row| coupon(row).map(|coupon| (coupon.key(), coupon)));
    Ok(Tracked::loaded(coupons.collect::<Result<Vec<_>, _>>()?))
}

/// All coupons of a buyer, by code.
pub(super) async fn coupons_of(connection: &mut SqliteConnection, buyer: &BuyerId) -> Result<Vec<Coupon>, StoreError> {
    let sql = "select buyer_id, code, currency, discount, minimum, expires_at, state, payment_id, version
                 from coupon where buyer_id in (select value from json_each(?1)) order by code";
    let buyer = BTreeSet::from([buyer]);
    read(connection, "reading a buyer's coupons", sql.to_owned(), &buyer).await?.iter().map(coupon).collect()
}

fn coupon(row: &SqliteRow) -> Result<Coupon, StoreError> {
    Ok(Coupon {
        buyer: parsed(row.get(0))?,
        code: parsed(row.get(1))?,
        discount: Money::new(row.get(3), parsed(row.get(2))?),
        minimum: row.get(4),
        expires_at: moment(row.get(5)),
        state: parsed(row.get(6))?,
        payment_id: row.get::<Option<&str>, _>(7).map(parsed).transpose()?,
        version: row.get(8),
    })
}

pub(super) fn unsettled(row: &SqliteRow) -> Result<Unsettled, StoreError> {
    Ok((parsed(row.get(0))?, row.get::<Option<&str>, _>(1).map(parsed).transpose()?))
}

pub(super) async fn save_payments(
    connection: &mut SqliteConnection,
    payments: &Tracked<OrderId, Payment>,
) -> Result<(), StoreError> {
    let insert =
        "insert into payment (payment_id, state, version, fingerprint, buyer_id, currency, amount, coupon_code,
                         discount, points, method, instrument, provider_reference, decline, void_reason, authorized_at,
                         claimed_points, claimed_method, refunded_points, refunded_method, created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13,
                         value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19,
                         value ->> 20, value ->> 21
                    from json_each(?1)";
    let rows = payments.inserted().map(|(_, payment)| {
        let asked = payment.asked.as_ref();
        let tenders = asked.map(|asked| &asked.tenders);
        Ok(serde_json::json!([
            payment.payment_id,
            payment.state.as_str(),
            payment.version,
            asked.map(|asked| &asked.fingerprint),
            asked.map(|asked| &asked.buyer),
            asked.map(|asked| asked.amount.currency),
            asked.map(|asked| asked.amount.minor),
            tenders.and_then(|tenders| tenders.coupon.as_ref()),
            tenders.map_or(0, |tenders| tenders.discount),
            tenders.map_or(0, |tenders| tenders.points),
            tenders.map_or(0, |tenders| tenders.method),
            asked.map_or("", |asked| &asked.instrument),
            payment.provider_reference,
            fault_text(payment.decline.as_ref())?,
            payment.void_reason,
            payment.authorized_at,
            payment.claimed.points,
            payment.claimed.method,
            payment.refunded.points,
            payment.refunded.method,
            payment.created_at,
            payment.updated_at,
        ]))
    });
    write(connection, "adding payments", insert, rows.collect::<Result<Vec<_>, StoreError>>()?).await?;
    let update = "update payment
                     set state = r.value ->> 1, version = r.value ->> 2, provider_reference = r.value ->> 3,
                         decline = r.value ->> 4, void_reason = r.value ->> 5, authorized_at = r.value ->> 6,
                         claimed_points = r.value ->> 7, claimed_method = r.value ->> 8,
                         refunded_points = r.value ->> 9, refunded_method = r.value ->> 10, updated_at = r.value ->> 11
                    from json_each(?1) r
                   where payment.payment_id = r.value ->> 0";
    let rows = payments.updated().map(|(payment_id, payment)| {
        Ok((
            payment_id,
            payment.state.as_str(),
            payment.version,
            &payment.provider_reference,
            fault_text(payment.decline.as_ref())?,
            &payment.void_reason,
            payment.authorized_at,
            payment.claimed.points,
            payment.claimed.method,
            payment.refunded.points,
            payment.refunded.method,
            payment.updated_at,
        ))
    });
    write(connection, "changing payments", update, rows.collect::<Result<Vec<_>, StoreError>>()?).await
}

pub(super) async fn save_refunds(
    connection: &mut SqliteConnection,
    refunds: &Tracked<RefundKey, Refund>,
) -> Result<(), StoreError> {
    let insert = "insert into refund (payment_id, request_id, currency, points, method, state, reason, decline,
                                      created_at, updated_at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8, value ->> 9
                    from json_each(?1)";
    let rows = refunds.inserted().map(|(key, refund)| {
        Ok((
            key.0,
            key.1,
            refund.currency,
            refund.shares.points,
            refund.shares.method,
            refund.state.as_str(),
            &refund.reason,
            fault_text(refund.decline.as_ref())?,
            refund.created_at,
            refund.updated_at,
        ))
    });
    write(connection, "adding refunds", insert, rows.collect::<Result<Vec<_>, StoreError>>()?).await?;
    let update = "update refund
                     set state = r.value ->> 2, decline = r.value ->> 3, updated_at = r.value ->> 4
                    from json_each(?1) r
                   where refund.payment_id = r.value ->> 0 and refund.request_id = r.value ->> 1";
    let rows = refunds.updated().map(|(key, refund)| {
        Ok((key.0, key.1, refund.state.as_str(), fault_text(refund.decline.as_ref())?, refund.updated_at))
    });
    write(connection, "changing refunds", update, rows.collect::<Result<Vec<_>, StoreError>>()?).await
}

pub(super) async fn save_wallets(
    connection: &mut SqliteConnection,
    wallets: &Tracked<BuyerId, Wallet>,
) -> Result<(), StoreError> {
    let row = |wallet: &Wallet| {
        let Wallet { buyer, available, held, issued, spent, version } = wallet.clone();
        (buyer, available, held, issued, spent, version)
    };
    let insert = "insert into wallet (buyer_id, available, held, issued, spent, version)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
                    from json_each(?1)";
    write(connection, "adding wallets", insert, wallets.inserted().map(|(_, wallet)| row(wallet))).await?;
    let update = "update wallet
                     set available = r.value ->> 1, held = r.value ->> 2, issued = r.value ->> 3, spent = r.value ->> 4,
                         version = r.value ->> 5
                    from json_each(?1) r
                   where wallet.buyer_id = r.value ->> 0";
    write(connection, "changing wallets", update, wallets.updated().map(|(_, wallet)| row(wallet))).await
}

pub(super) async fn save_entries(connection: &mut SqliteConnection, transfers: &[Transfer]) -> Result<(), StoreError> {
    let insert = "insert into wallet_entry (buyer_id, transfer_id, account, points, reason, at)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
                    from json_each(?1)";
    let entries = transfers.iter().flat_map(|transfer| {
        let Transfer { buyer, id, from, to, points, reason, at } = transfer;
        [(from, -points), (to, *points)].map(|(account, points)| (buyer, id, account.as_str(), points, reason, at))
    });
    write(connection, "writing wallet entries", insert, entries).await
}

pub(super) async fn save_coupons(
    connection: &mut SqliteConnection,
    coupons: &Tracked<CouponKey, Coupon>,
) -> Result<(), StoreError> {
    let insert =
        "insert into coupon (buyer_id, code, currency, discount, minimum, expires_at, state, payment_id, version)
                  select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                         value ->> 7, value ->> 8
                    from json_each(?1)";
    let rows = coupons.inserted().map(|(_, coupon)| {
        let Coupon { buyer, code, discount, minimum, expires_at, state, payment_id, version } = coupon;
        (buyer, code, discount.currency, discount.minor, minimum, expires_at, state.as_str(), payment_id, version)
    });
    write(connection, "adding coupons", insert, rows).await?;
    let update = "update coupon
                     set state = r.value ->> 2, payment_id = r.value ->> 3, version = r.value ->> 4
                    from json_each(?1) r
                   where coupon.buyer_id = r.value ->> 0 and coupon.code = r.value ->> 1";
    let rows = coupons
        .updated()
        .map(|(_, coupon)| (&coupon.buyer, &coupon.code, coupon.state.as_str(), coupon.payment_id, coupon.version));
    write(connection, "changing coupons", update, rows).await
}

/// One statement over a batch of keys; none at all for an empty batch.
async fn read<K: Serialize + Ord>(
    connection: &mut SqliteConnection,
    doing: &'static str,
    sql: String,
    keys: &BTreeSet<K>,
) -> Result<Vec<SqliteRow>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json(keys)?);
    query.fetch_all(connection).await.map_err(StoreError::database(doing))
}
