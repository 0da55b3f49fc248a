//! Who looks after what the provider has left open. Each of the replicas has a settler; a claim in the row keeps them
//! from asking about the same payment at the same time, and lapses by itself when its settler dies or stands still.
//!
//! No lock outlives the statement: the provider is asked when nothing is held here but the claim.

use std::time::Duration;

use spillway_storage::StoreError;
use spillway_types::{OrderId, RequestId};
use sqlx::{PgConnection, Row};

use crate::store::Unsettled;

/// The moment at which the statement began. Nothing waits for a lock here, and unlike the clock it can be compared with
/// an index.
const BEGUN: &str = "(extract(epoch from statement_timestamp()) * 1000000)::bigint";

/// Claims payments and refunds of payments, at most `limit` of each. A row that somebody has locked is in good hands.
pub(super) async fn take_up(
    connection: &mut PgConnection,
    idle: Duration,
    claim: Duration,
    limit: u32,
) -> Result<Vec<Unsettled>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "with due_payment as (
             select payment_id
               from payment
              where state in ('AUTHORIZING', 'CAPTURING', 'VOIDING')
                and claimed_until <= {BEGUN} and updated_at <= {BEGUN} - $1
              order by claimed_until, payment_id
              limit $3
                for update skip locked
         ), due_refund as (
             select payment_id, request_id
               from refund
              where state = 'PENDING'
                and claimed_until <= {BEGUN} and updated_at <= {BEGUN} - $1
              order by claimed_until, payment_id, request_id
              limit $3
                for update skip locked
         ), taken_payment as (
             update payment p
                set claimed_until = {BEGUN} + $2
               from due_payment d
              where p.payment_id = d.payment_id
          returning p.payment_id, p.updated_at
         ), taken_refund as (
             update refund r
                set claimed_until = {BEGUN} + $2
               from due_refund d
              where r.payment_id = d.payment_id and r.request_id = d.request_id
          returning r.payment_id, r.request_id, r.updated_at
         )
         select payment_id, null::uuid, updated_at from taken_payment
          union all
         select payment_id, request_id, updated_at from taken_refund
          order by 3, 1"
    )))
    .bind(micros(idle))
    .bind(micros(claim))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("taking up unsettled payments"))?;
    Ok(rows.iter().map(|row| (OrderId::new(row.get(0)), row.get::<Option<_>, _>(1).map(RequestId::new))).collect())
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
