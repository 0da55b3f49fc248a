//! What goes wrong for whom, and what has happened so far.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use spillway_types::{Fault, Reason};
use tokio::{sync::watch, time::Instant};

use super::{Call, Mishap, On, Span, VOID, When, unheard};

/// What goes wrong for whom. It outlives the platform.
#[derive(Debug, Default)]
pub struct Script {
    orders: Mutex<Orders>,
    /// Told of whatever somebody may wait for.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Orders {
    /// By buyer: in these suites each has one order.
    plots: HashMap<String, Plot>,
    /// Buyers by their order's id.
    buyers: HashMap<String, String>,
}

/// One buyer's order.
#[derive(Debug, Default)]
struct Plot {
    planned: Vec<Planned>,
    order_id: Option<String>,
    /// The calls that the platform has begun since its start, in order.
    begun: Vec<Call>,
    /// The calls that a participant has answered well.
    done: Vec<Call>,
    /// Participants that cannot be reached, and until when.
    down: Vec<(&'static str, Instant)>,
    held: bool,
    released: bool,
    late: Option<Result<(), Fault>>,
    complaints: Vec<String>,
}

#[derive(Debug)]
struct Planned {
    on: On,
    mishap: Mishap,
    fired: u32,
}

/// What is to happen to one call.
#[derive(Debug)]
pub(super) enum Act {
    Deliver,
    Answer(Fault),
    Unheard,
    Hang,
    Twice,
    AtOnce,
    HoldBack { after: Call },
    Forestall,
    Hold(When),
}

// === impl Script ===

impl Script {
    /// A script by which nothing goes wrong.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Something goes wrong for a buyer. Of several that fit, the first that is not over yet happens.
    pub fn plan(&self, buyer: &str, on: On, mishap: Mishap) {
        self.plot(buyer, |plot| plot.planned.push(Planned { on, mishap, fired: 0 }));
    }

    /// The platform was stopped: calls are counted anew, and nothing goes wrong any more.
    pub fn next_life(&self) {
        for plot in self.lock().plots.values_mut() {
            *plot = Plot { order_id: plot.order_id.take(), ..Plot::default() };
        }
    }

    /// The id that a buyer's order has, once a call has named it.
    pub fn order_id(&self, buyer: &str) -> Option<String> {
        self.plot(buyer, |plot| plot.order_id.clone())
    }

    /// The calls of a buyer's order, in the order in which they began.
    pub fn begun(&self, buyer: &str) -> Vec<Call> {
        self.plot(buyer, |plot| plot.begun.clone())
    }

    /// Whether a buyer's order has come to where it is held.
    pub fn is_held(&self, buyer: &str) -> bool {
        self.plot(buyer, |plot| plot.held)
    }

    /// Lets what is held go on.
    pub fn release(&self, buyer: &str) {
        self.plot(buyer, |plot| plot.released = true);
        self.changes.send_replace(());
    }

    /// What the call that was held back was answered, once it has arrived.
    pub fn late(&self, buyer: &str) -> Option<Result<(), Fault>> {
        self.plot(buyer, |plot| plot.late.clone())
    }

    /// What was planned and never happened, and what was seen that must not be.
    pub fn complaints(&self, buyer: &str) -> Vec<String> {
        self.plot(buyer, |plot| {
            let idle = plot.planned.iter().filter(|planned| planned.fired == 0);
            let idle = idle.map(|planned| format!("{:?} never met {:?}", planned.mishap, planned.on));
            idle.chain(plot.complaints.iter().cloned()).collect()
        })
    }

    /// A call begins. `None` when it is not known whose it is.
    pub(super) fn begins(
        &self,
        order_id: &str,
        buyer: Option<&str>,
        call: Call,
        participant: &'static str,
    ) -> Option<(String, Act)> {
        let mut orders = self.lock();
        if let Some(buyer) = buyer {
            orders.buyers.insert(order_id.to_owned(), buyer.to_owned());
        }
        let buyer = orders.buyers.get(order_id)?.clone();
        let plot = orders.plots.entry(buyer.clone()).or_default();
        plot.order_id.get_or_insert_with(|| order_id.to_owned());
        Some((buyer, plot.begins(call, participant)))
    }

    pub(super) fn done(&self, buyer: &str, call: Call) {
        self.plot(buyer, |plot| plot.done.push(call));
        self.changes.send_replace(());
    }

    pub(super) async fn wait_until_done(&self, buyer: &str, call: Call) {
        self.wait_until(buyer, |plot| plot.done.contains(&call)).await;
    }

    pub(super) async fn hold(&self, buyer: &str) {
        self.pass(buyer);
        self.wait_until(buyer, |plot| plot.released).await;
    }

    pub(super) fn pass(&self, buyer: &str) {
        self.plot(buyer, |plot| plot.held = true);
    }

    pub(super) fn arrived_late(&self, buyer: &str, answer: Result<(), Fault>) {
        self.plot(buyer, |plot| plot.late = Some(answer));
    }

    pub(super) fn complain(&self, buyer: &str, complaint: String) {
        self.plot(buyer, |plot| plot.complaints.push(complaint));
    }

    async fn wait_until(&self, buyer: &str, is_so: impl Fn(&Plot) -> bool) {
        let mut changes = self.changes.subscribe();
        while !self.plot(buyer, |plot| is_so(plot)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn plot<T>(&self, buyer: &str, with: impl FnOnce(&mut Plot) -> T) -> T {
        with(self.lock().plots.entry(buyer.to_owned()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Plot ===

impl Plot {
    fn begins(&mut self, call: Call, participant: &'static str) -> Act {
        self.begun.push(call);
        let nth = self.begun.len();
        let now = Instant::now();
        let unreachable = || Act::Answer(Fault::new(Reason::Unreachable, "the script cut the wire"));
        if self.down.iter().any(|(whose, until)| *whose == participant && now < *until) {
            return unreachable();
        }
        let has_turned_back = self.begun.contains(&VOID);
        let fits = |planned: &&mut Planned| match planned.on {
            On::Call(name) => name == call,
            On::Nth(n) => n == nth,
        };
        for planned in self.planned.iter_mut().filter(fits) {
            let is_first = planned.fired == 0;
            let lasts = |span: Span| match span {
                Span::Times(times) => planned.fired < times,
                Span::UntilTurnedBack => !has_turned_back,
            };
            let act = match planned.mishap {
                Mishap::Lost(span) => lasts(span).then(unreachable),
                Mishap::Unheard(span) => lasts(span).then_some(Act::Unheard),
                Mishap::Shed(span) => lasts(span).then(|| Act::Answer(Fault::new(Reason::Shed, "the script is busy"))),
                Mishap::Hangs => is_first.then_some(Act::Hang),
                Mishap::Twice => is_first.then_some(Act::Twice),
                Mishap::AtOnce => is_first.then_some(Act::AtOnce),
                Mishap::Forestalled => is_first.then_some(Act::Forestall),
                Mishap::Held(when) => is_first.then_some(Act::Hold(when)),
                Mishap::Denied => {
                    is_first.then(|| Act::Answer(Fault::new(Reason::NotAllowed, "the script forbids it")))
                }
                Mishap::Late { after } if is_first => Some(Act::HoldBack { after }),
                Mishap::Late { after } => {
                    let is_lost = after != call && !self.done.contains(&after);
                    is_lost.then(|| Act::Answer(unheard()))
                }
                Mishap::Down(time) => is_first.then(|| {
                    self.down.push((participant, now + time));
                    unreachable()
                }),
            };
            if let Some(act) = act {
                planned.fired += 1;
                return act;
            }
        }
        Act::Deliver
    }
}
