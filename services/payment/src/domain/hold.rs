//! What a payment holds in its buyer's wallet: taken at Authorize, spent at Capture, released when the payment is
//! decided against, given back by a refund.

use spillway_types::{BuyerId, Fault, Money, OrderId, Reason, Timestamp, Violations};

use super::{
    Account, Coupon, CouponState, Payment, Tenders, Transfer, View, Wallet, command::Authorize, coupon, tender::split,
};

/// What becomes of a wallet and a coupon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The wallet afterwards, and how points moved.
    pub wallet: Option<(Wallet, Transfer)>,
    /// The coupon afterwards.
    pub coupon: Option<Coupon>,
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The payment was captured.
    Spend,
    /// It was decided against.
    Release,
}

/// Shares the price out and holds coupon and points.
///
/// # Errors
/// The refusal, which the caller records.
pub fn take(view: &impl View, command: &Authorize, now: Timestamp) -> Result<(Tenders, Holding), Fault> {
    let (payment_id, price) = (command.payment_id, command.amount);
    let coupon = match &command.coupon {
        None => None,
        Some(code) => {
            let unknown = || coupon::unavailable(code, "is not in this buyer's wallet");
            Some(view.coupon(&(command.buyer.clone(), code.clone())).ok_or_else(unknown)?)
        }
    };
    let discount = coupon.map(|coupon| coupon.discount_on(price, now)).transpose()?;
    let tenders = split(price.minor, command.coupon.clone().zip(discount), command.points);
    let total = Money::new(price.minor - tenders.discount, price.currency);
    if let Some(expected) = command.expected_total.filter(|expected| *expected != total) {
        let text = format!("the total is {total}, not {expected} as expected; show it to the buyer and order again");
        return Err(Fault::new(Reason::PriceChanged, text).with("total", total).with("expected_total", expected));
    }
    check_instrument(command, &tenders)?;
    let wallet = match tenders.points {
        0 => None,
        points => Some(hold_points(view, &command.buyer, payment_id, points, now)?),
    };
    let coupon = coupon.map(|coupon| coupon.put(CouponState::Held, Some(payment_id)));
    Ok((tenders, Holding { wallet, coupon }))
}

fn check_instrument(command: &Authorize, tenders: &Tenders) -> Result<(), Fault> {
    let problem = match &command.instrument_problem {
        Some(problem) => problem.clone(),
        None if command.instrument.is_empty() && tenders.method > 0 => {
            let left = Money::new(tenders.method, command.amount.currency);
            format!("is required: {left} are left to pay after coupon and points")
        }
        None => return Ok(()),
    };
    let mut wrong = Violations::default();
    wrong.add("instrument", problem);
    Err(wrong.into())
}

fn hold_points(
    view: &impl View,
    buyer: &BuyerId,
    payment_id: OrderId,
    points: i64,
    now: Timestamp,
) -> Result<(Wallet, Transfer), Fault> {
    let available = view.wallet(buyer).map_or(0, |wallet| wallet.available);
    if available < points {
        let text = format!("{points} points are needed, the wallet has {available}; spend fewer points");
        return Err(Fault::new(Reason::InsufficientPoints, text).with("available", available).with_precondition(
            "POINTS",
            buyer,
            format!("{points} needed, {available} available"),
        ));
    }
    let id = format!("hold:{payment_id}");
    moved(view, transfer(buyer, id, (Account::Available, Account::Held), points, now))
}

/// Ends what a payment holds.
///
/// # Errors
/// An internal fault when the rows do not hold what the payment says they do.
pub fn end(view: &impl View, payment: &Payment, end: End, now: Timestamp) -> Result<Holding, Fault> {
    let Some(asked) = &payment.asked else { return Ok(Holding::default()) };
    let (word, to) = match end {
        End::Spend => ("spend", Account::Spent),
        End::Release => ("release", Account::Available),
    };
    let wallet = match asked.tenders.points {
        0 => None,
        points => {
            let id = format!("{word}:{}", payment.payment_id);
            Some(moved(view, transfer(&asked.buyer, id, (Account::Held, to), points, now))?)
        }
    };
    let coupon = match &asked.tenders.coupon {
        None => None,
        Some(code) => {
            let held = view.coupon(&(asked.buyer.clone(), code.clone()));
            let ours =
                |coupon: &&Coupon| coupon.state == CouponState::Held && coupon.payment_id == Some(payment.payment_id);
            let held = held.filter(ours).ok_or_else(Fault::internal)?;
            Some(match end {
                End::Spend => held.put(CouponState::Spent, Some(payment.payment_id)),
                End::Release => held.put(CouponState::Available, None),
            })
        }
    };
    Ok(Holding { wallet, coupon })
}

/// Gives spent points back.
///
/// # Errors
/// An internal fault when they were not spent.
pub fn give_back(
    view: &impl View,
    payment: &Payment,
    key: &super::RefundKey,
    points: i64,
    now: Timestamp,
) -> Result<Option<(Wallet, Transfer)>, Fault> {
    let Some(asked) = payment.asked.as_ref().filter(|_| points > 0) else { return Ok(None) };
    let id = format!("refund:{}:{}", key.0, key.1);
    moved(view, transfer(&asked.buyer, id, (Account::Spent, Account::Available), points, now)).map(Some)
}

/// A transfer between two accounts of a buyer.
pub fn transfer(buyer: &BuyerId, id: String, way: (Account, Account), points: i64, at: Timestamp) -> Transfer {
    let (from, to) = way;
    Transfer { buyer: buyer.clone(), id, from, to, points, reason: String::new(), at }
}

/// The wallet after a transfer that was judged before: one that it cannot bear is a slip in a rule.
fn moved(view: &impl View, transfer: Transfer) -> Result<(Wallet, Transfer), Fault> {
    let wallet = view.wallet(&transfer.buyer).and_then(|wallet| wallet.after(&transfer));
    Ok((wallet.ok_or_else(Fault::internal)?, transfer))
}
