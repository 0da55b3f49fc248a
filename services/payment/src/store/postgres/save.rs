//! Writing what a batch has changed: one statement a table for what is new, in the order of its keys, and one for what
//! is different. Rows that another replica has added meanwhile violate a key, and the batch is decided again. A claim was
//! for what the row said before: whatever changes ends it.

use spillway_storage::{StoreError, Tracked, postgres::column};
use spillway_types::{BuyerId, Fault, OrderId, Timestamp};
use sqlx::PgConnection;

use crate::{
    domain::{Coupon, CouponKey, Payment, Refund, RefundKey, Tenders, Transfer, Wallet},
    store::values::fault_text,
};

pub(super) async fn payments(
    connection: &mut PgConnection,
    payments: &Tracked<OrderId, Payment>,
) -> Result<(), StoreError> {
    add_payments(connection, &rows(payments.inserted())).await?;
    change_payments(connection, &rows(payments.updated())).await
}

async fn add_payments(connection: &mut PgConnection, new: &[&Payment]) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let share =
        |payment: &Payment, share: fn(&Tenders) -> i64| payment.asked.as_ref().map_or(0, |asked| share(&asked.tenders));
    sqlx::query(
        "insert into payment (payment_id, state, version, fingerprint, buyer_id, currency, amount, coupon_code, discount,
                              points, method, instrument, provider_reference, decline, void_reason, authorized_at,
                              claimed_points, claimed_method, refunded_points, refunded_method, created_at, updated_at)
         select *
           from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[],
                       $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::text[], $14::text[], $15::text[],
                       $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[],
                       $22::bigint[])",
    )
    .bind(column(new, |payment| payment.payment_id.uuid()))
    .bind(column(new, |payment| payment.state.as_str()))
    .bind(column(new, |payment| payment.version))
    .bind(column(new, |payment| payment.asked.as_ref().map(|asked| asked.fingerprint.as_str())))
    .bind(column(new, |payment| payment.asked.as_ref().map(|asked| asked.buyer.as_str())))
    .bind(column(new, |payment| payment.asked.as_ref().map(|asked| asked.amount.currency.as_str())))
    .bind(column(new, |payment| payment.asked.as_ref().map(|asked| asked.amount.minor)))
    .bind(column(new, |payment| {
        payment.asked.as_ref().and_then(|asked| asked.tenders.coupon.as_ref()).map(|code| code.as_str())
    }))
    .bind(column(new, |payment| share(payment, |tenders| tenders.discount)))
    .bind(column(new, |payment| share(payment, |tenders| tenders.points)))
    .bind(column(new, |payment| share(payment, |tenders| tenders.method)))
    .bind(column(new, |payment| payment.asked.as_ref().map_or("", |asked| &asked.instrument)))
    .bind(column(new, |payment| payment.provider_reference.as_str()))
    .bind(declines(new, |payment| payment.decline.as_ref())?)
    .bind(column(new, |payment| payment.void_reason.as_str()))
    .bind(column(new, |payment| payment.authorized_at.map(Timestamp::as_micros)))
    .bind(column(new, |payment| payment.claimed.points))
    .bind(column(new, |payment| payment.claimed.method))
    .bind(column(new, |payment| payment.refunded.points))
    .bind(column(new, |payment| payment.refunded.method))
    .bind(column(new, |payment| payment.created_at.as_micros()))
    .bind(column(new, |payment| payment.updated_at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("adding payments"))
}

async fn change_payments(connection: &mut PgConnection, changed: &[&Payment]) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update payment p
            set state = r.state, version = r.version, provider_reference = r.provider_reference, decline = r.decline,
                void_reason = r.void_reason, authorized_at = r.authorized_at, claimed_points = r.claimed_points,
                claimed_method = r.claimed_method, refunded_points = r.refunded_points,
                refunded_method = r.refunded_method, updated_at = r.updated_at, claimed_until = 0
           from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                       $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
                r (payment_id, state, version, provider_reference, decline, void_reason, authorized_at,
                   claimed_points, claimed_method, refunded_points, refunded_method, updated_at)
          where p.payment_id = r.payment_id",
    )
    .bind(column(changed, |payment| payment.payment_id.uuid()))
    .bind(column(changed, |payment| payment.state.as_str()))
    .bind(column(changed, |payment| payment.version))
    .bind(column(changed, |payment| payment.provider_reference.as_str()))
    .bind(declines(changed, |payment| payment.decline.as_ref())?)
    .bind(column(changed, |payment| payment.void_reason.as_str()))
    .bind(column(changed, |payment| payment.authorized_at.map(Timestamp::as_micros)))
    .bind(column(changed, |payment| payment.claimed.points))
    .bind(column(changed, |payment| payment.claimed.method))
    .bind(column(changed, |payment| payment.refunded.points))
    .bind(column(changed, |payment| payment.refunded.method))
    .bind(column(changed, |payment| payment.updated_at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("changing payments"))
}

pub(super) async fn refunds(
    connection: &mut PgConnection,
    refunds: &Tracked<RefundKey, Refund>,
) -> Result<(), StoreError> {
    let new = rows(refunds.inserted());
    if !new.is_empty() {
        sqlx::query(
            "insert into refund (payment_id, request_id, currency, points, method, state, reason, decline, created_at,
                                 updated_at)
             select *
               from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
                           $8::text[], $9::bigint[], $10::bigint[])",
        )
        .bind(column(&new, |refund| refund.key.0.uuid()))
        .bind(column(&new, |refund| refund.key.1.uuid()))
        .bind(column(&new, |refund| refund.currency.as_str()))
        .bind(column(&new, |refund| refund.shares.points))
        .bind(column(&new, |refund| refund.shares.method))
        .bind(column(&new, |refund| refund.state.as_str()))
        .bind(column(&new, |refund| refund.reason.as_str()))
        .bind(declines(&new, |refund| refund.decline.as_ref())?)
        .bind(column(&new, |refund| refund.created_at.as_micros()))
        .bind(column(&new, |refund| refund.updated_at.as_micros()))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("adding refunds"))?;
    }
    let changed = rows(refunds.updated());
    if !changed.is_empty() {
        sqlx::query(
            "update refund f
                set state = r.state, decline = r.decline, updated_at = r.updated_at, claimed_until = 0
               from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[])
                    r (payment_id, request_id, state, decline, updated_at)
              where f.payment_id = r.payment_id and f.request_id = r.request_id",
        )
        .bind(column(&changed, |refund| refund.key.0.uuid()))
        .bind(column(&changed, |refund| refund.key.1.uuid()))
        .bind(column(&changed, |refund| refund.state.as_str()))
        .bind(declines(&changed, |refund| refund.decline.as_ref())?)
        .bind(column(&changed, |refund| refund.updated_at.as_micros()))
        .execute(connection)
        .await
        .map_err(StoreError::database("changing refunds"))?;
    }
    Ok(())
}

pub(super) async fn wallets(
    connection: &mut PgConnection,
    wallets: &Tracked<BuyerId, Wallet>,
) -> Result<(), StoreError> {
    let insert = "insert into wallet (buyer_id, available, held, issued, spent, version)
                  select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])";
    let update = "update wallet w
                     set available = r.available, held = r.held, issued = r.issued, spent = r.spent,
                         version = r.version
                    from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
                         r (buyer_id, available, held, issued, spent, version)
                   where w.buyer_id = r.buyer_id";
    let (new, changed) = (rows(wallets.inserted()), rows(wallets.updated()));
    for (doing, sql, rows) in [("adding wallets", insert, new), ("changing wallets", update, changed)] {
        if rows.is_empty() {
            continue;
        }
        sqlx::query(sql)
            .bind(column(&rows, |wallet| wallet.buyer.as_str()))
            .bind(column(&rows, |wallet| wallet.available))
            .bind(column(&rows, |wallet| wallet.held))
            .bind(column(&rows, |wallet| wallet.issued))
            .bind(column(&rows, |wallet| wallet.spent))
            .bind(column(&rows, |wallet| wallet.version))
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database(doing))?;
    }
    Ok(())
}

pub(super) async fn entries(connection: &mut PgConnection, transfers: &[Transfer]) -> Result<(), StoreError> {
    if transfers.is_empty() {
        return Ok(());
    }
    let mut entries = Vec::with_capacity(2 * transfers.len());
    for transfer in transfers {
        entries.push((transfer, transfer.from.as_str(), -transfer.points));
        entries.push((transfer, transfer.to.as_str(), transfer.points));
    }
    entries.sort_unstable_by_key(|(transfer, account, _)| (&transfer.buyer, &transfer.id, *account));
    sqlx::query(
        "insert into wallet_entry (buyer_id, transfer_id, account, points, reason, at)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[])",
    )
    .bind(column(&entries, |(transfer, ..)| transfer.buyer.as_str()))
    .bind(column(&entries, |(transfer, ..)| transfer.id.as_str()))
    .bind(column(&entries, |(_, account, _)| *account))
    .bind(column(&entries, |(.., points)| *points))
    .bind(column(&entries, |(transfer, ..)| transfer.reason.as_str()))
    .bind(column(&entries, |(transfer, ..)| transfer.at.as_micros()))
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database("writing wallet entries"))
}

pub(super) async fn coupons(
    connection: &mut PgConnection,
    coupons: &Tracked<CouponKey, Coupon>,
) -> Result<(), StoreError> {
    let new = rows(coupons.inserted());
    if !new.is_empty() {
        sqlx::query(
            "insert into coupon (buyer_id, code, currency, discount, minimum, expires_at, state, payment_id, version)
             select *
               from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
                           $8::uuid[], $9::bigint[])",
        )
        .bind(column(&new, |coupon| coupon.buyer.as_str()))
        .bind(column(&new, |coupon| coupon.code.as_str()))
        .bind(column(&new, |coupon| coupon.discount.currency.as_str()))
        .bind(column(&new, |coupon| coupon.discount.minor))
        .bind(column(&new, |coupon| coupon.minimum))
        .bind(column(&new, |coupon| coupon.expires_at.map(Timestamp::as_micros)))
        .bind(column(&new, |coupon| coupon.state.as_str()))
        .bind(column(&new, |coupon| coupon.payment_id.map(OrderId::uuid)))
        .bind(column(&new, |coupon| coupon.version))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("adding coupons"))?;
    }
    let changed = rows(coupons.updated());
    if !changed.is_empty() {
        sqlx::query(
            "update coupon c
                set state = r.state, payment_id = r.payment_id, version = r.version
               from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bigint[])
                    r (buyer_id, code, state, payment_id, version)
              where c.buyer_id = r.buyer_id and c.code = r.code",
        )
        .bind(column(&changed, |coupon| coupon.buyer.as_str()))
        .bind(column(&changed, |coupon| coupon.code.as_str()))
        .bind(column(&changed, |coupon| coupon.state.as_str()))
        .bind(column(&changed, |coupon| coupon.payment_id.map(OrderId::uuid)))
        .bind(column(&changed, |coupon| coupon.version))
        .execute(connection)
        .await
        .map_err(StoreError::database("changing coupons"))?;
    }
    Ok(())
}

/// The rows without their keys, which they hold themselves.
fn rows<'a, K: 'a, V>(rows: impl Iterator<Item = (&'a K, &'a V)>) -> Vec<&'a V> {
    rows.map(|(_, row)| row).collect()
}

/// The recorded refusals of rows, as JSON.
fn declines<T>(rows: &[&T], decline: fn(&T) -> Option<&Fault>) -> Result<Vec<Option<String>>, StoreError> {
    rows.iter().map(|row| fault_text(decline(row))).collect()
}
