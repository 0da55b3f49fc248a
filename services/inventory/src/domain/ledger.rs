//! The judgement of one command against the rows of its batch.
//!
//! For a Reserve the order is: known key, tombstone, unknown SKUs, stock, hold. The key comes first, so that a repeat
//! hears its first answer whatever has become of stock since.

use std::collections::BTreeMap;

use spillway_types::{Fault, OrderId, Reason, Sku, Timestamp};

use super::{
    Answer, Command, Hold, Item, Line, Movement, MovementKind, Reservation, State,
    command::{AdjustStock, Confirm, CreateItem, Reserve, UpdateItem},
};

/// The rows that a batch has loaded, as earlier commands of the batch have left them.
pub trait View {
    /// An item, if there is one.
    fn item(&self, sku: &Sku) -> Option<&Item>;
    /// A reservation, tombstone or recorded refusal, if there is one.
    fn reservation(&self, order_id: OrderId) -> Option<&Reservation>;
    /// `HELD` reservations whose time is over, oldest first.
    fn lapsed(&self, now: Timestamp) -> Vec<&Reservation>;
}

/// What a command changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Items as they are afterwards.
    pub items: BTreeMap<Sku, Item>,
    /// Reservations as they are afterwards.
    pub reservations: BTreeMap<OrderId, Reservation>,
    /// Lines for the journal.
    pub movements: Vec<Movement>,
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
    let mut ledger = Ledger { view, now, effects: Effects::default() };
    let answer = match command {
        Command::CreateItem(once) => ledger.create_item(&once.body),
        Command::UpdateItem(once) => ledger.update_item(&once.body),
        Command::AdjustStock(once) => ledger.adjust_stock(&once.body),
        Command::Reserve(reserve) => ledger.reserve(reserve),
        Command::Pin(order_id) => ledger.pin(*order_id),
        Command::Confirm(confirm) => ledger.confirm(confirm),
        Command::Release(order_id) => ledger.release(*order_id),
        Command::Expire => ledger.expire(|_| true).map(Answer::Expired),
    };
    match answer {
        Err(Refusal::Unrecorded(fault)) => Decision { answer: Err(fault), effects: Effects::default() },
        Err(Refusal::Recorded(fault)) => Decision { answer: Err(fault), effects: ledger.effects },
        Ok(answer) => Decision { answer: Ok(answer), effects: ledger.effects },
    }
}

/// A "no", and whether it leaves a trace.
enum Refusal {
    Recorded(Fault),
    Unrecorded(Fault),
}

struct Ledger<'a, V> {
    view: &'a V,
    now: Timestamp,
    effects: Effects,
}

// === impl Ledger ===

impl<V: View> Ledger<'_, V> {
    fn create_item(&mut self, body: &CreateItem) -> Result<Answer, Refusal> {
        let CreateItem { sku, title, unit_price, on_hand } = body;
        if self.item(sku).is_some() {
            return Err(Fault::new(Reason::AlreadyExists, format!("there is an item {sku} already"))
                .with("sku", sku)
                .into());
        }
        let item = Item {
            sku: sku.clone(),
            title: title.clone(),
            unit_price: *unit_price,
            on_hand: 0,
            available: 0,
            held: 0,
            sold_unshipped: 0,
            version: 1,
            created_at: self.now,
            updated_at: self.now,
        };
        self.effects.items.insert(sku.clone(), item.clone());
        if *on_hand == 0 {
            return Ok(Answer::Item(item));
        }
        self.move_units(Movement::adjust(sku, *on_hand, self.now)).map(Answer::Item)
    }

    fn update_item(&mut self, body: &UpdateItem) -> Result<Answer, Refusal> {
        let mut item = self.known_item(&body.sku)?.clone();
        if let Some(price) = body.unit_price
            && price.currency != item.unit_price.currency
        {
            let text = format!("{} is sold in {}; a currency cannot be changed", item.sku, item.unit_price.currency);
            let mut fault = Fault::new(Reason::InvalidRequest, text.clone());
            fault.fields.push(spillway_types::fault::FieldViolation { field: "price".to_owned(), description: text });
            return Err(fault.into());
        }
        item.title = body.title.clone().unwrap_or(item.title);
        item.unit_price = body.unit_price.unwrap_or(item.unit_price);
        item.version += 1;
        item.updated_at = self.now;
        self.effects.items.insert(item.sku.clone(), item.clone());
        Ok(Answer::Item(item))
    }

    fn adjust_stock(&mut self, body: &AdjustStock) -> Result<Answer, Refusal> {
        let item = self.known_item(&body.sku)?;
        let short = Fault::new(Reason::OutOfStock, format!("only {} of {} can be taken out", item.available, body.sku))
            .with_precondition("STOCK", &body.sku, format!("{} available", item.available));
        if item.available.checked_add(body.delta).is_none_or(|left| left < 0) {
            return Err(short.into());
        }
        self.move_units(Movement::adjust(&body.sku, body.delta, self.now)).map(Answer::Item)
    }

    fn reserve(&mut self, command: &Reserve) -> Result<Answer, Refusal> {
        if let Some(known) = self.view.reservation(command.order_id) {
            return again(known, command);
        }
        let unknown: Vec<&Sku> =
            command.lines.iter().map(|(sku, _)| sku).filter(|sku| self.item(sku).is_none()).collect();
        if let Some(sku) = unknown.first() {
            let fault = unknown.iter().fold(Fault::not_found("item", sku), |fault, sku| {
                fault.with_precondition("ITEM", sku, "there is no such item")
            });
            return Err(self.refuse(command, fault));
        }
        if let Some(fault) = self.mixed_currencies(command) {
            return Err(self.refuse(command, fault));
        }
        if self.short(command).is_some() {
            // Only who needs the units takes lapsed promises back; nobody else pays for it.
            self.expire(|line| command.lines.iter().any(|(sku, _)| *sku == line.sku))?;
        }
        if let Some(fault) = self.short(command) {
            return Err(self.refuse(command, fault));
        }
        self.hold(command)
    }

    fn hold(&mut self, command: &Reserve) -> Result<Answer, Refusal> {
        let mut lines = Vec::with_capacity(command.lines.len());
        for (sku, quantity) in &command.lines {
            let item = self.move_units(Movement::hold(sku, command.order_id, i64::from(*quantity), self.now))?;
            let (sku, title, unit_price) = (item.sku, item.title, item.unit_price);
            lines.push(Line { sku, title, quantity: *quantity, confirmed: 0, unit_price });
        }
        let (state, expires_at) = match command.hold {
            Hold::Pinned => (State::Pinned, None),
            Hold::For(time) => (State::Held, Some(self.now.saturating_add(time))),
        };
        let reservation = Reservation {
            buyer_id: Some(command.buyer_id.clone()),
            fingerprint: Some(command.fingerprint.clone()),
            state,
            lines,
            expires_at,
            version: 1,
            ..Reservation::tombstone(command.order_id, self.now)
        };
        Ok(self.put(reservation))
    }

    fn pin(&mut self, order_id: OrderId) -> Result<Answer, Refusal> {
        let known = self.known_reservation(order_id)?;
        match known.state {
            State::Held => Ok(self.put(known.becoming(State::Pinned, self.now))),
            State::Pinned | State::Confirmed => Ok(Answer::Reservation(known.clone())),
            State::Released | State::Expired | State::Refused => Err(over(known).into()),
        }
    }

    fn confirm(&mut self, command: &Confirm) -> Result<Answer, Refusal> {
        let known = self.known_reservation(command.order_id)?;
        let lines = confirmed_lines(known, command)?;
        match known.state {
            State::Held | State::Pinned => {}
            State::Confirmed if known.lines == lines => return Ok(Answer::Reservation(known.clone())),
            State::Confirmed => return Err(Fault::request_id_reused(command.order_id).into()),
            State::Released | State::Expired | State::Refused => return Err(over(known).into()),
        }
        let mut confirmed = known.becoming(State::Confirmed, self.now);
        for line in &lines {
            let (sold, rest) = (i64::from(line.confirmed), i64::from(line.quantity - line.confirmed));
            if sold > 0 {
                self.move_units(Movement::confirm(&line.sku, command.order_id, sold, self.now))?;
            }
            if rest > 0 {
                let back = Movement::give_back(MovementKind::Release, &line.sku, command.order_id, rest, self.now);
                self.move_units(back)?;
            }
        }
        confirmed.lines = lines;
        Ok(self.put(confirmed))
    }

    fn release(&mut self, order_id: OrderId) -> Result<Answer, Refusal> {
        let Some(known) = self.view.reservation(order_id) else {
            return Ok(self.put(Reservation::tombstone(order_id, self.now)));
        };
        match known.state {
            State::Held | State::Pinned => self.give_back(known, State::Released, MovementKind::Release),
            State::Confirmed | State::Released | State::Expired | State::Refused => {
                Ok(Answer::Reservation(known.clone()))
            }
        }
    }

    /// Takes back the promises whose time is over and that have a line that is `wanted`.
    fn expire(&mut self, wanted: impl Fn(&Line) -> bool) -> Result<usize, Refusal> {
        let view = self.view;
        let lapsed: Vec<_> =
            view.lapsed(self.now).into_iter().filter(|lapsed| lapsed.lines.iter().any(&wanted)).collect();
        for reservation in &lapsed {
            self.give_back(reservation, State::Expired, MovementKind::Expire)?;
        }
        Ok(lapsed.len())
    }

    fn give_back(&mut self, known: &Reservation, state: State, kind: MovementKind) -> Result<Answer, Refusal> {
        for line in &known.lines {
            let units = i64::from(line.quantity);
            self.move_units(Movement::give_back(kind, &line.sku, known.order_id, units, self.now))?;
        }
        Ok(self.put(known.becoming(state, self.now)))
    }

    /// The refusal for lack of stock, if there is one: every short SKU, and what is left of it.
    fn short(&self, command: &Reserve) -> Option<Fault> {
        let left = |sku: &Sku| self.item(sku).map_or(0, |item| item.available);
        let short: Vec<_> = command.lines.iter().filter(|(sku, quantity)| left(sku) < i64::from(*quantity)).collect();
        let (first, quantity) = short.first()?;
        let text = format!("not enough left of {first}: {quantity} wanted, {} left", left(first));
        Some(short.iter().fold(Fault::new(Reason::OutOfStock, text), |fault, (sku, quantity)| {
            fault.with_precondition("STOCK", sku, format!("{quantity} wanted, {} left", left(sku)))
        }))
    }

    fn mixed_currencies(&self, command: &Reserve) -> Option<Fault> {
        let mut currencies =
            command.lines.iter().filter_map(|(sku, _)| self.item(sku)).map(|item| item.unit_price.currency);
        let first = currencies.next()?;
        let other = currencies.find(|other| *other != first)?;
        let text = format!("an order has one currency; these lines have {first} and {other}");
        let mut fault = Fault::new(Reason::InvalidRequest, text.clone());
        fault.fields.push(spillway_types::fault::FieldViolation { field: "lines".to_owned(), description: text });
        Some(fault)
    }

    /// Records a "no" to a Reserve under its key. Whatever lapsed on the way stays lapsed.
    fn refuse(&mut self, command: &Reserve, fault: Fault) -> Refusal {
        let fault = fault.recorded();
        self.put(Reservation {
            buyer_id: Some(command.buyer_id.clone()),
            fingerprint: Some(command.fingerprint.clone()),
            state: State::Refused,
            refusal: Some(fault.clone()),
            ..Reservation::tombstone(command.order_id, self.now)
        });
        Refusal::Recorded(fault)
    }

    fn put(&mut self, reservation: Reservation) -> Answer {
        self.effects.reservations.insert(reservation.order_id, reservation.clone());
        Answer::Reservation(reservation)
    }

    fn move_units(&mut self, movement: Movement) -> Result<Item, Refusal> {
        let moved = self.item(&movement.sku).and_then(|item| item.moved(&movement));
        let item = moved.ok_or_else(Fault::internal)?;
        self.effects.items.insert(item.sku.clone(), item.clone());
        self.effects.movements.push(movement);
        Ok(item)
    }

    fn item(&self, sku: &Sku) -> Option<&Item> {
        self.effects.items.get(sku).or_else(|| self.view.item(sku))
    }

    fn known_item(&self, sku: &Sku) -> Result<&Item, Refusal> {
        Ok(self.item(sku).ok_or_else(|| Fault::not_found("item", sku))?)
    }

    fn known_reservation(&self, order_id: OrderId) -> Result<&Reservation, Refusal> {
        Ok(self.view.reservation(order_id).ok_or_else(|| Fault::not_found("reservation", order_id))?)
    }
}

/// The answer to a Reserve whose key is known.
fn again(known: &Reservation, command: &Reserve) -> Result<Answer, Refusal> {
    match (&known.fingerprint, &known.refusal) {
        (None, _) => Err(Fault::tombstone().into()),
        (Some(fingerprint), _) if *fingerprint != command.fingerprint => {
            Err(Fault::request_id_reused(command.order_id).into())
        }
        (Some(_), Some(refusal)) => Err(refusal.clone().into()),
        (Some(_), None) => Ok(Answer::Reservation(known.clone())),
    }
}

/// The lines as a Confirm would leave them.
fn confirmed_lines(known: &Reservation, command: &Confirm) -> Result<Vec<Line>, Fault> {
    let Some(wanted) = &command.lines else {
        return Ok(known.lines.iter().map(|line| Line { confirmed: line.quantity, ..line.clone() }).collect());
    };
    let mut violations = spillway_types::Violations::default();
    for (sku, quantity) in wanted {
        let held = known.lines.iter().find(|line| line.sku == *sku).map_or(0, |line| line.quantity);
        if *quantity > held {
            violations.add("lines", format!("{quantity} of {sku} cannot be confirmed, {held} are held"));
        }
    }
    let wanted = |sku: &Sku| wanted.iter().find(|(other, _)| other == sku).map_or(0, |(_, quantity)| *quantity);
    let lines = known.lines.iter().map(|line| Line { confirmed: wanted(&line.sku), ..line.clone() }).collect();
    violations.finish(Some(lines))
}

/// The refusal of a command that comes after a promise has ended.
fn over(known: &Reservation) -> Fault {
    match known.state {
        State::Expired => Fault::new(Reason::Expired, "the hold has lapsed; reserve again for a new order"),
        State::Released => Fault::new(Reason::Cancelled, "the hold was released"),
        State::Held | State::Pinned | State::Confirmed | State::Refused => {
            Fault::new(Reason::IllegalTransition, "the reservation does not allow this")
        }
    }
    .with("current_state", known.state.as_str())
}

// === impl Refusal ===

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Unrecorded(fault)
    }
}

#[cfg(test)]
mod tests;
