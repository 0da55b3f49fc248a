//! The judgement of one command against the rows of its batch.
//!
//! For an Authorize the order is: known key, tombstone, coupon, expected total, instrument, points, hold. The key comes
//! first, so that a repeat hears of the payment it made, whatever has become of the wallet since.

use spillway_types::{BuyerId, Fault, Fingerprint, Money, OrderId, Reason, RequestId, Timestamp, Violations};

use super::{
    Account, Answer, Asked, Command, Coupon, CouponKey, CouponState, Event, Outcome, Payment, Refund, RefundKey,
    RefundState, Shares, State, Tenders, Transfer, Wallet,
    command::{Authorize, GrantPoints, IssueCoupon, Once, Refunding, Void},
    hold::{self, End, Holding},
};

/// The rows that a batch has loaded, as earlier commands of the batch have left them.
pub trait View {
    /// A payment, tombstone or recorded refusal, if there is one.
    fn payment(&self, payment_id: OrderId) -> Option<&Payment>;
    /// A refund, if there is one.
    fn refund(&self, key: &RefundKey) -> Option<&Refund>;
    /// A wallet; one that nothing was ever put into may be absent.
    fn wallet(&self, buyer: &BuyerId) -> Option<&Wallet>;
    /// A coupon, if there is one.
    fn coupon(&self, key: &CouponKey) -> Option<&Coupon>;
}

/// What a command changes: of each kind of row at most one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The payment as it is afterwards.
    pub payment: Option<Payment>,
    /// The refund as it is afterwards.
    pub refund: Option<Refund>,
    /// Wallet and coupon as they are afterwards.
    pub holding: Holding,
}

/// An answer and what it changes. A refusal may have effects, too: recorded ones do.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the caller hears.
    pub answer: Result<Answer, Fault>,
    /// What is saved before the caller hears it.
    pub effects: Effects,
}

/// Judges a command.
pub fn decide(view: &impl View, command: &Command, now: Timestamp) -> Decision {
    let mut till = Till { view, now, effects: Effects::default() };
    let answer = match command {
        Command::Authorize { body, fingerprint } => till.authorize(body, fingerprint),
        Command::Capture(payment_id) => till.capture(*payment_id),
        Command::Void(void) => till.void(void),
        Command::Refund(once) => till.refund(once),
        Command::Settle { payment_id, outcome } => till.settle(*payment_id, outcome),
        Command::Resume { payment_id, refund } => till.resume(*payment_id, *refund),
        Command::GrantPoints(once) => till.grant_points(once),
        Command::IssueCoupon(once) => till.issue_coupon(&once.body),
    };
    match answer {
        Err(Refusal::Unrecorded(fault)) => Decision { answer: Err(fault), effects: Effects::default() },
        Err(Refusal::Recorded(fault)) => Decision { answer: Err(fault), effects: till.effects },
        Ok(answer) => Decision { answer: Ok(answer), effects: till.effects },
    }
}

/// A "no", and whether it leaves a trace.
enum Refusal {
    Recorded(Fault),
    Unrecorded(Fault),
}

struct Till<'a, V> {
    view: &'a V,
    now: Timestamp,
    effects: Effects,
}

// === impl Till ===

impl<'a, V: View> Till<'a, V> {
    fn authorize(&mut self, command: &Authorize, fingerprint: &Fingerprint) -> Result<Answer, Refusal> {
        if let Some(known) = self.view.payment(command.payment_id) {
            return again(known, fingerprint);
        }
        let (tenders, holding) = match hold::take(self.view, command, self.now) {
            Ok(taken) => taken,
            Err(fault) => return Err(self.refuse(command, fingerprint, fault)),
        };
        self.effects.holding = holding;
        let needs_provider = tenders.method > 0;
        let payment = Payment {
            state: if needs_provider { State::Authorizing } else { State::Authorized },
            version: 1,
            asked: Some(asked(command, fingerprint, tenders)),
            authorized_at: (!needs_provider).then_some(self.now),
            ..Payment::tombstone(command.payment_id, String::new(), self.now)
        };
        Ok(self.put(payment))
    }

    /// Records a "no" to an Authorize under its key.
    fn refuse(&mut self, command: &Authorize, fingerprint: &Fingerprint, fault: Fault) -> Refusal {
        let fault = fault.recorded();
        self.effects.payment = Some(Payment {
            state: State::Declined,
            asked: Some(asked(command, fingerprint, Tenders::default())),
            decline: Some(fault.clone()),
            ..Payment::tombstone(command.payment_id, String::new(), self.now)
        });
        Refusal::Recorded(fault)
    }

    fn capture(&mut self, payment_id: OrderId) -> Result<Answer, Refusal> {
        let known = self.known(payment_id)?;
        match known.state {
            State::Authorized if known.needs_provider() => Ok(self.put(known.after(Event::CaptureAsked, self.now)?)),
            State::Authorized => self.captured(known),
            State::Capturing => Ok(still_open(known)),
            State::Captured | State::PartiallyRefunded | State::Refunded => {
                Ok(Answer::Payment(Box::new(known.clone())))
            }
            State::Voiding | State::Voided | State::Declined => {
                let cancelled = || Fault::new(Reason::Cancelled, "the payment was voided").recorded();
                Err(known.decline.clone().unwrap_or_else(cancelled).into())
            }
            State::Authorizing => Err(known.out_of_turn().into()),
        }
    }

    fn void(&mut self, command: &Void) -> Result<Answer, Refusal> {
        let Some(known) = self.view.payment(command.payment_id) else {
            let tombstone = Payment::tombstone(command.payment_id, command.reason.clone(), self.now);
            return Ok(self.put(tombstone));
        };
        match known.state {
            // Whether the buyer has paid is for the provider to say.
            State::Authorizing if command.only_if_unpaid => Ok(still_open(known)),
            State::Authorized if command.only_if_unpaid => Ok(Answer::Payment(Box::new(known.clone()))),
            State::Authorizing | State::Authorized => {
                let event = if known.needs_provider() { Event::VoidAsked } else { Event::Voided };
                let mut voided = known.after(event, self.now)?;
                voided.void_reason.clone_from(&command.reason);
                // Nothing can go forward any more, so the buyer has coupon and points back at once.
                self.effects.holding = hold::end(self.view, known, End::Release, self.now)?;
                Ok(self.put(voided))
            }
            State::Capturing | State::Voiding => Ok(still_open(known)),
            State::Captured | State::Voided | State::Declined | State::PartiallyRefunded | State::Refunded => {
                Ok(Answer::Payment(Box::new(known.clone())))
            }
        }
    }

    fn refund(&mut self, once: &Once<Refunding>) -> Result<Answer, Refusal> {
        let Refunding { payment_id, amount, reason } = &once.body;
        let known = self.known(*payment_id)?;
        let key = (*payment_id, once.request_id);
        if let Some(refund) = self.view.refund(&key) {
            return refund_as_it_stands(known, refund);
        }
        let Some(asked) = known.asked.as_ref().filter(|_| known.state.is_past_capture()) else {
            return Err(known.out_of_turn().into());
        };
        let currency = asked.amount.currency;
        let left = known.left();
        let shares = left.give_back(amount.minor).filter(|_| amount.currency == currency);
        let Some(shares) = shares else {
            let mut wrong = Violations::default();
            wrong.add(
                "amount",
                format!("must be at most {}: the rest was given back", Money::new(left.total(), currency)),
            );
            return Err(Refusal::Recorded(Fault::from(wrong).recorded()));
        };
        let refund = Refund {
            key,
            shares,
            currency,
            state: RefundState::Pending,
            reason: reason.clone(),
            decline: None,
            created_at: self.now,
            updated_at: self.now,
        };
        let claimed = Payment { claimed: known.claimed.plus(shares), ..known.clone() };
        if shares.method == 0 {
            return self.refunded(&claimed, &refund);
        }
        let payment = claimed.after(Event::RefundClaimed, self.now)?;
        let task = refund.task(&payment).ok_or_else(Fault::internal)?;
        self.effects.refund = Some(refund);
        self.effects.payment = Some(payment);
        Ok(Answer::Open { task, fresh: true })
    }

    /// Notes what the provider said. What was noted before, or overtaken by a Void, changes nothing.
    fn settle(&mut self, payment_id: OrderId, outcome: &Outcome) -> Result<Answer, Refusal> {
        let known = self.known(payment_id)?;
        match (known.state, outcome) {
            (State::Authorizing, Outcome::Authorized(reference)) => {
                let mut payment = known.after(Event::Authorized, self.now)?;
                payment.provider_reference.clone_from(reference);
                payment.authorized_at = Some(self.now);
                Ok(self.put(payment))
            }
            (State::Authorizing, Outcome::AuthorizationDeclined(why)) => {
                let payment = known.after(Event::Declined, self.now)?;
                self.declined(known, payment, why)
            }
            (State::Capturing, Outcome::Captured) => self.captured(known),
            (State::Capturing, Outcome::CaptureDeclined(why)) => {
                let mut payment = known.after(Event::CaptureDeclined, self.now)?;
                payment.void_reason = format!("the provider refused the capture: {why}");
                self.declined(known, payment, why)
            }
            (State::Voiding, Outcome::Voided) => Ok(self.put(known.after(Event::Voided, self.now)?)),
            (_, Outcome::Refunded(request_id) | Outcome::RefundDeclined(request_id, _)) => {
                self.settle_refund(known, &(payment_id, *request_id), outcome)
            }
            _ => Ok(as_it_stands(known, false)),
        }
    }

    fn settle_refund(&mut self, known: &Payment, key: &RefundKey, outcome: &Outcome) -> Result<Answer, Refusal> {
        let refund = self.view.refund(key).ok_or_else(|| Fault::not_found("refund", key.1))?;
        match (refund.state, outcome) {
            (RefundState::Pending, Outcome::Refunded(_)) => self.refunded(known, refund),
            (RefundState::Pending, Outcome::RefundDeclined(_, why)) => {
                let fault = declined(why).recorded();
                let mut payment = known.after(Event::RefundClaimed, self.now)?;
                payment.claimed = payment.claimed.minus(refund.shares);
                self.effects.payment = Some(payment);
                self.effects.refund = Some(Refund {
                    state: RefundState::Declined,
                    decline: Some(fault.clone()),
                    updated_at: self.now,
                    ..refund.clone()
                });
                Err(Refusal::Recorded(fault))
            }
            _ => refund_as_it_stands(known, refund),
        }
    }

    fn resume(&self, payment_id: OrderId, refund: Option<RequestId>) -> Result<Answer, Refusal> {
        let known = self.known(payment_id)?;
        match refund.and_then(|request_id| self.view.refund(&(payment_id, request_id))) {
            Some(refund) => refund_as_it_stands(known, refund),
            None => Ok(as_it_stands(known, false)),
        }
    }

    fn grant_points(&mut self, once: &Once<GrantPoints>) -> Result<Answer, Refusal> {
        let GrantPoints { buyer, points, reason } = &once.body;
        let id = format!("grant:{}", once.request_id);
        let way = (Account::Issued, Account::Available);
        let transfer = Transfer { reason: reason.clone(), ..hold::transfer(buyer, id, way, *points, self.now) };
        let empty = Wallet::empty(buyer.clone());
        let Some(wallet) = self.view.wallet(buyer).unwrap_or(&empty).after(&transfer) else {
            let mut wrong = Violations::default();
            wrong.add("points", "is more than a wallet can hold");
            return Err(Fault::from(wrong).into());
        };
        self.effects.holding.wallet = Some((wallet, transfer));
        Ok(Answer::Wallet)
    }

    fn issue_coupon(&mut self, command: &IssueCoupon) -> Result<Answer, Refusal> {
        let IssueCoupon { buyer, code, discount, minimum, expires_at } = command;
        if self.view.coupon(&(buyer.clone(), code.clone())).is_some() {
            let text = format!("{buyer} has a coupon {code} already; choose another code");
            return Err(Fault::new(Reason::AlreadyExists, text).with("coupon_code", code).into());
        }
        self.effects.holding.coupon = Some(Coupon {
            buyer: buyer.clone(),
            code: code.clone(),
            discount: *discount,
            minimum: *minimum,
            expires_at: *expires_at,
            state: CouponState::Available,
            payment_id: None,
            version: 1,
        });
        Ok(Answer::Wallet)
    }

    /// The money is ours, and with it what was held.
    fn captured(&mut self, known: &Payment) -> Result<Answer, Refusal> {
        self.effects.holding = hold::end(self.view, known, End::Spend, self.now)?;
        let payment = known.after(Event::Captured, self.now)?;
        Ok(self.put(payment))
    }

    /// The provider said no to an authorisation or a capture; what was held is free again.
    fn declined(&mut self, known: &Payment, payment: Payment, why: &str) -> Result<Answer, Refusal> {
        let fault = declined(why).recorded();
        self.effects.holding = hold::end(self.view, known, End::Release, self.now)?;
        self.effects.payment = Some(Payment { decline: Some(fault.clone()), ..payment });
        Err(Refusal::Recorded(fault))
    }

    /// A refund whose share at the provider, if it had one, is done.
    fn refunded(&mut self, payment: &Payment, refund: &Refund) -> Result<Answer, Refusal> {
        let refunded = payment.refunded.plus(refund.shares);
        let paid = payment.asked.as_ref().map_or(Shares::default(), |asked| asked.tenders.paid());
        let event = if refunded == paid { Event::RefundedAll } else { Event::RefundedPart };
        let points = refund.shares.points;
        self.effects.holding.wallet = hold::give_back(self.view, payment, &refund.key, points, self.now)?;
        self.effects.refund = Some(Refund { state: RefundState::Done, updated_at: self.now, ..refund.clone() });
        let payment = Payment { refunded, ..payment.after(event, self.now)? };
        Ok(self.put(payment))
    }

    fn known(&self, payment_id: OrderId) -> Result<&'a Payment, Refusal> {
        Ok(self.view.payment(payment_id).ok_or_else(|| Fault::not_found("payment", payment_id))?)
    }

    fn put(&mut self, payment: Payment) -> Answer {
        let answer = as_it_stands(&payment, true);
        self.effects.payment = Some(payment);
        answer
    }
}

/// The answer to an Authorize whose key is known.
fn again(known: &Payment, fingerprint: &Fingerprint) -> Result<Answer, Refusal> {
    match (&known.asked, &known.decline) {
        (None, _) => Err(Fault::tombstone().into()),
        (Some(asked), _) if asked.fingerprint != *fingerprint => Err(Fault::request_id_reused(known.payment_id).into()),
        (Some(_), Some(decline)) if known.state == State::Declined => Err(decline.clone().into()),
        (Some(_), _) if known.state == State::Authorizing => Ok(still_open(known)),
        // Voided while the provider was being asked: this Authorize never succeeded, and never will.
        (Some(_), _) if known.authorized_at.is_none() => Err(Fault::tombstone().into()),
        (Some(_), _) => Ok(Answer::Payment(Box::new(known.clone()))),
    }
}

fn asked(command: &Authorize, fingerprint: &Fingerprint, tenders: Tenders) -> Asked {
    Asked {
        buyer: command.buyer.clone(),
        fingerprint: fingerprint.clone(),
        amount: command.amount,
        tenders,
        instrument: command.instrument.clone(),
    }
}

fn declined(why: &str) -> Fault {
    let text = format!("the payment was declined: {why}; try another instrument with a new order");
    Fault::new(Reason::PaymentDeclined, text).with("provider_message", why)
}

fn still_open(payment: &Payment) -> Answer {
    as_it_stands(payment, false)
}

/// The payment, or what the provider has to be asked first.
fn as_it_stands(payment: &Payment, fresh: bool) -> Answer {
    match payment.task() {
        Some(task) => Answer::Open { task, fresh },
        None => Answer::Payment(Box::new(payment.clone())),
    }
}

fn refund_as_it_stands(payment: &Payment, refund: &Refund) -> Result<Answer, Refusal> {
    match (refund.task(payment), &refund.decline) {
        (Some(task), _) => Ok(Answer::Open { task, fresh: false }),
        (None, Some(decline)) => Err(decline.clone().into()),
        (None, None) => Ok(Answer::Payment(Box::new(payment.clone()))),
    }
}

// === impl Refusal ===

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Unrecorded(fault)
    }
}

#[cfg(test)]
mod tests;
