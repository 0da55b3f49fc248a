//! The judgement of one command against the rows of its batch.
//!
//! For a move the order is: what this key or this move did before, tombstone, role, version, table. What was done comes
//! first, so that a repeat hears that it is done, however far the order has come since.

use std::collections::BTreeMap;

use spillway_types::{Fault, OrderId, Reason, RequestId, Timestamp};

use super::{
    Advance, Answer, Command, Contents, Create, Entry, Move, News, Order, Role, State, machine, order::unknown,
};

/// The rows that a batch has loaded, as earlier commands of the batch have left them.
pub trait View {
    /// An order or tombstone, if there is one.
    fn order(&self, order_id: OrderId) -> Option<&Order>;
    /// The moves that an order has made, oldest first.
    fn trail(&self, order_id: OrderId) -> Vec<&Entry>;
}

/// What a command changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Orders as they are afterwards.
    pub orders: BTreeMap<OrderId, Order>,
    /// Lines for the audit trail, each of which is also an event.
    pub entries: Vec<Entry>,
}

/// An answer and what it changes. A refusal changes nothing here.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the caller hears.
    pub answer: Result<Answer, Fault>,
    /// What is saved before the caller hears it.
    pub effects: Effects,
}

/// Judges a command.
pub fn decide(view: &impl View, command: &Command, now: Timestamp) -> Decision {
    let mut judge = Judge { view, now, effects: Effects::default() };
    let answer = match command {
        Command::Create(create) => judge.create(create).map(Box::new).map(Answer::Order),
        Command::Advance(advance) => judge.advance(advance).map(Box::new).map(Answer::Order),
        Command::Follow(news) => Ok(Answer::Followed(judge.follow(news))),
    };
    let effects = if answer.is_ok() { judge.effects } else { Effects::default() };
    Decision { answer, effects }
}

struct Judge<'a, V> {
    view: &'a V,
    now: Timestamp,
    effects: Effects,
}

/// Who asks for a move, and why.
#[derive(Clone, Copy)]
struct Cause<'a> {
    role: Role,
    reason: &'a str,
    request_id: Option<RequestId>,
}

// === impl Judge ===

impl<V: View> Judge<'_, V> {
    fn create(&mut self, command: &Create) -> Result<Order, Fault> {
        if let Some(known) = self.view.order(command.order_id) {
            return again(known, command);
        }
        let cause = Cause { role: Role::Saga, reason: "", request_id: Some(command.request_id) };
        let Some(state) = machine::next(None, Move::Create, cause.role) else {
            return Err(Fault::internal());
        };
        let order = Order {
            order_id: command.order_id,
            tenant_id: command.tenant_id.clone(),
            buyer_id: Some(command.buyer_id.clone()),
            contents: Some(Contents {
                fingerprint: command.fingerprint.clone(),
                price: command.price.clone(),
                address: command.address.clone(),
            }),
            state,
            version: 1,
            cancel_reason: String::new(),
            created_at: self.now,
            updated_at: self.now,
        };
        Ok(self.put(None, Move::Create, order, cause))
    }

    fn advance(&mut self, command: &Advance) -> Result<Order, Fault> {
        let Some(known) = self.view.order(command.order_id) else {
            return self.advance_unknown(command);
        };
        if known.tenant_id != command.tenant_id {
            return Err(unknown(known.order_id, self.now));
        }
        if self.is_done(command)? {
            return Ok(known.clone());
        }
        if known.is_tombstone() && command.step != Move::Cancel {
            return Err(Fault::tombstone());
        }
        judge_asker(Some(known), command)?;
        match machine::next(Some(known.state), command.step, command.role) {
            Some(to) => Ok(self.move_on(known, command.step, to, Cause::of(command))),
            // Compensation is total: past the pivot it changes nothing and answers the state that it found.
            None if command.step == Move::Cancel => Ok(known.clone()),
            None => Err(illegal(Some(known), command)),
        }
    }

    fn advance_unknown(&mut self, command: &Advance) -> Result<Order, Fault> {
        if command.step != Move::Cancel {
            return Err(unknown(command.order_id, self.now));
        }
        judge_asker(None, command)?;
        let tombstone = Order::tombstone(
            command.order_id,
            command.tenant_id.clone(),
            command.buyer_id.clone(),
            command.reason.clone(),
            self.now,
        );
        self.effects.orders.insert(tombstone.order_id, tombstone.clone());
        Ok(tombstone)
    }

    /// Whether the order has made this move already. A key that made another move is refused, with two exceptions: the
    /// saga's key is the order itself, whatever it sends along, and a cancellation compensates and is never refused.
    fn is_done(&self, command: &Advance) -> Result<bool, Fault> {
        let trail = self.view.trail(command.order_id);
        if command.role != Role::Saga && command.step != Move::Cancel {
            // Keys are scoped by method: the first entry is CreateOrder's.
            let mut moves = trail.iter().filter(|entry| entry.step != Move::Create);
            let made_by_key = moves.find(|entry| entry.request_id == Some(command.request_id));
            if made_by_key.is_some_and(|entry| entry.step != command.step) {
                return Err(Fault::request_id_reused(command.request_id));
            }
        }
        Ok(trail.iter().any(|entry| entry.step == command.step))
    }

    fn follow(&mut self, news: &[News]) -> Vec<(News, Option<State>)> {
        let mut unused = Vec::new();
        for piece in news {
            let Some(mut order) = self.order(piece.order_id).cloned() else {
                unused.push((*piece, None));
                continue;
            };
            for (step, role) in piece.progress.path() {
                if let Some(to) = machine::next(Some(order.state), *step, *role) {
                    let cause = Cause { role: *role, reason: "", request_id: None };
                    order = self.move_on(&order, *step, to, cause);
                }
            }
            // Anything beyond PAID has either been moved just now or been there before; these have not, and cannot.
            if matches!(order.state, State::Pending | State::AwaitingPayment | State::Cancelled) {
                unused.push((*piece, Some(order.state)));
            }
        }
        unused
    }

    fn move_on(&mut self, known: &Order, step: Move, to: State, cause: Cause<'_>) -> Order {
        let moved = known.becoming(to, cause.reason, self.now);
        self.put(Some(known.state), step, moved, cause)
    }

    fn put(&mut self, from_state: Option<State>, step: Move, order: Order, cause: Cause<'_>) -> Order {
        self.effects.entries.push(Entry {
            order_id: order.order_id,
            version: order.version,
            step,
            from_state,
            to_state: order.state,
            role: cause.role,
            reason: cause.reason.to_owned(),
            request_id: cause.request_id,
            at: self.now,
            buyer_id: order.buyer_id.clone(),
        });
        self.effects.orders.insert(order.order_id, order.clone());
        order
    }

    fn order(&self, order_id: OrderId) -> Option<&Order> {
        self.effects.orders.get(&order_id).or_else(|| self.view.order(order_id))
    }
}

/// The answer to a Create whose key is known.
fn again(known: &Order, command: &Create) -> Result<Order, Fault> {
    match &known.contents {
        None => Err(Fault::tombstone()),
        Some(contents) if contents.fingerprint != command.fingerprint => {
            Err(Fault::request_id_reused(command.order_id))
        }
        Some(_) => Ok(known.clone()),
    }
}

/// Whether the asker may make the move at all, and knows where the order stands.
fn judge_asker(known: Option<&Order>, command: &Advance) -> Result<(), Fault> {
    if !command.step.is_for(command.role) {
        return Err(illegal(known, command));
    }
    let version = known.map_or(0, |known| known.version);
    if command.expected_version.is_some_and(|expected| expected != version) {
        let text = "the order has moved on; read it again and decide anew";
        return Err(Fault::new(Reason::VersionConflict, text).with("version", version));
    }
    Ok(())
}

/// The refusal of a move that the table does not have.
fn illegal(known: Option<&Order>, command: &Advance) -> Fault {
    let (state, version) = known.map_or(("none", 0), |known| (known.state.as_str(), known.version));
    let text = format!("{} is no move of {} for an order in {state}", command.step.as_str(), command.role.as_str());
    Fault::new(Reason::IllegalTransition, text).with("current_state", state).with("version", version)
}

// === impl Cause ===

impl<'a> Cause<'a> {
    fn of(command: &'a Advance) -> Self {
        Self { role: command.role, reason: &command.reason, request_id: Some(command.request_id) }
    }
}
