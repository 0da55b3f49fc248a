//! A way to the participants on which things go wrong as a script says: requests and answers are lost, come twice, come
//! late, or not at all. What arrives is carried out by the real participants.

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use spillway_contracts::{
    fulfilment::v1::CancelShipmentsRequest,
    inventory::v1::ReleaseReservationRequest,
    order::v1::{ActorRole, AdvanceOrderRequest, OrderState},
    payment::v1::VoidRequest,
};
use spillway_orchestrator::{
    Links,
    clients::{Command, Reply, Transport},
};
use spillway_types::{Fault, Reason};

use self::script::Act;
pub use self::script::Script;

mod script;

/// A step's call, by name. The two uses of `AdvanceOrder` are calls of their own.
pub type Call = &'static str;

/// `create_order` is undone.
pub const CANCEL_ORDER: Call = "AdvanceOrder(CANCELLED)";
/// `confirm_order`.
pub const PAY_ORDER: Call = "AdvanceOrder(PAID)";
/// The arbiter: a saga that turns back begins with it.
pub const VOID: Call = "Void";

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mishap {
    /// Its request is lost: nothing is done.
    Lost(Span),
    /// Its answer is lost: it is done, and nobody knows.
    Unheard(Span),
    /// It is done, and no answer comes, within whatever time.
    Hangs,
    /// It is carried out twice, one after the other.
    Twice,
    /// It is carried out twice, at the same time.
    AtOnce,
    /// It is held back on its way until `after` has been done, and arrives then. Meanwhile nothing else of it arrives.
    Late { after: Call },
    /// It is answered with a permanent error that nobody recorded, as after a bad deploy.
    Denied,
    /// It is answered with "too busy".
    Shed(Span),
    /// Its participant cannot be reached, by whatever call, from this one on.
    Down(Duration),
    /// Another driver's compensation, for another reason, gets there first.
    Forestalled,
    /// It stops here until it is released.
    Held(When),
}

/// For how many of a call's attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Times(u32),
    /// For as long as the saga does not ask the arbiter.
    UntilTurnedBack,
}

/// Where a call stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// On its way there.
    Before,
    /// On its way back.
    After,
    /// Nowhere: it is only noted that it has begun.
    Never,
}

/// Which call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Every attempt of this one.
    Call(Call),
    /// The so-manieth call of the order since the platform was started, whichever it is; 1 is the first.
    Nth(usize),
}

/// The transport.
#[derive(Clone)]
struct Faulty {
    real: Arc<dyn Transport>,
    script: Arc<Script>,
}

/// One command on its way.
struct Errand {
    to: Faulty,
    buyer: String,
    command: Command,
    timeout: Duration,
}

/// What a call is named in scripts.
pub fn call(command: &Command) -> Call {
    match command {
        Command::AdvanceOrder(request) if request.to_state() == OrderState::Cancelled => CANCEL_ORDER,
        Command::AdvanceOrder(_) => PAY_ORDER,
        other => other.name(),
    }
}

/// Whom it goes to, which order it is about, and the buyer where it says so.
fn about(command: &Command) -> (&'static str, &str, Option<&str>) {
    match command {
        Command::Reserve(request) => ("inventory", &request.order_id, Some(&request.buyer_id)),
        Command::ReleaseReservation(request) => ("inventory", &request.reservation_id, None),
        Command::ConfirmReservation(request) => ("inventory", &request.reservation_id, None),
        Command::CreateOrder(request) => ("order", &request.order_id, Some(&request.buyer_id)),
        Command::AdvanceOrder(request) => ("order", &request.order_id, Some(&request.buyer_id)),
        Command::Authorize(request) => ("payment", &request.order_id, Some(&request.buyer_id)),
        Command::Void(request) => ("payment", &request.payment_id, None),
        Command::Capture(request) => ("payment", &request.payment_id, None),
        Command::PlanShipments(request) => ("fulfilment", &request.order_id, None),
        Command::CancelShipments(request) => ("fulfilment", &request.order_id, None),
        Command::DispatchShipments(request) => ("fulfilment", &request.order_id, None),
    }
}

/// What another driver, which turned back for a reason of its own, would send against a command. The pivot's is Void.
fn against(command: &Command) -> Option<Command> {
    let reason = "another driver lost patience".to_owned();
    let (_, id, buyer) = about(command);
    let (id, buyer_id) = (id.to_owned(), buyer.unwrap_or_default().to_owned());
    match command {
        Command::Reserve(_) => Some(Command::ReleaseReservation(ReleaseReservationRequest {
            request_id: id.clone(),
            reservation_id: id,
            reason,
        })),
        Command::CreateOrder(_) => Some(Command::AdvanceOrder(AdvanceOrderRequest {
            request_id: id.clone(),
            order_id: id,
            to_state: OrderState::Cancelled.into(),
            expected_version: None,
            reason,
            actor_role: ActorRole::Saga.into(),
            buyer_id,
        })),
        Command::Authorize(_) | Command::Capture(_) => {
            Some(Command::Void(VoidRequest { request_id: id.clone(), payment_id: id, reason, only_if_unpaid: false }))
        }
        Command::PlanShipments(_) => {
            Some(Command::CancelShipments(CancelShipmentsRequest { request_id: id.clone(), order_id: id, reason }))
        }
        Command::ReleaseReservation(_)
        | Command::ConfirmReservation(_)
        | Command::AdvanceOrder(_)
        | Command::Void(_)
        | Command::CancelShipments(_)
        | Command::DispatchShipments(_) => None,
    }
}

fn unheard() -> Fault {
    Fault::new(Reason::OutcomeUnknown, "the script lost the answer")
}

/// Whether one of two answers to the same command, both definite, is wrong.
fn disagree(one: &Result<Reply, Fault>, other: &Result<Reply, Fault>) -> bool {
    let definite = |answer: &Result<Reply, Fault>| match answer {
        Ok(_) => Some(None),
        Err(fault) => fault.is_recorded().then_some(Some(fault.reason)),
    };
    definite(one).zip(definite(other)).is_some_and(|(one, other)| one != other)
}

// === impl Script ===

impl Script {
    /// Puts itself around the orchestrator's way to its participants.
    pub fn around(self: &Arc<Self>) -> impl FnOnce(Links) -> Links + use<> {
        let script = Arc::clone(self);
        move |links| Links { transport: Arc::new(Faulty { real: links.transport, script }), ..links }
    }
}

// === impl Faulty ===

#[async_trait]
impl Transport for Faulty {
    async fn send(&self, command: Command, timeout: Duration) -> Result<Reply, Fault> {
        let (participant, order_id, buyer) = about(&command);
        let Some((buyer, act)) = self.script.begins(order_id, buyer, call(&command), participant) else {
            return self.real.send(command, timeout).await;
        };
        let errand = Errand { to: self.clone(), buyer, command, timeout };
        match act {
            Act::Deliver => errand.deliver().await,
            Act::Answer(fault) => Err(fault),
            Act::Unheard => {
                // Whatever it was.
                let _ = errand.deliver().await;
                Err(unheard())
            }
            Act::Hang => {
                let _ = errand.deliver().await;
                pending().await
            }
            Act::Twice => {
                let first = errand.deliver().await;
                errand.compared(first, errand.deliver().await)
            }
            Act::AtOnce => {
                let (first, second) = tokio::join!(errand.deliver(), errand.deliver());
                errand.compared(first, second)
            }
            Act::HoldBack { after } => {
                tokio::spawn(errand.arrive_late(after));
                Err(unheard())
            }
            Act::Forestall => {
                if let Some(compensation) = against(&errand.command) {
                    self.real.send(compensation, timeout).await?;
                }
                errand.deliver().await
            }
            Act::Hold(When::Before) => {
                self.script.hold(&errand.buyer).await;
                errand.deliver().await
            }
            Act::Hold(When::After) => {
                let answer = errand.deliver().await;
                self.script.hold(&errand.buyer).await;
                answer
            }
            Act::Hold(When::Never) => {
                self.script.pass(&errand.buyer);
                errand.deliver().await
            }
        }
    }
}

// === impl Errand ===

impl Errand {
    async fn deliver(&self) -> Result<Reply, Fault> {
        let answer = self.to.real.send(self.command.clone(), self.timeout).await;
        if answer.is_ok() {
            self.to.script.done(&self.buyer, call(&self.command));
        }
        answer
    }

    async fn arrive_late(self, after: Call) {
        self.to.script.wait_until_done(&self.buyer, after).await;
        let answer = self.deliver().await.map(drop);
        self.to.script.arrived_late(&self.buyer, answer);
    }

    fn compared(&self, first: Result<Reply, Fault>, second: Result<Reply, Fault>) -> Result<Reply, Fault> {
        if disagree(&first, &second) {
            let name = call(&self.command);
            self.to.script.complain(&self.buyer, format!("{name} answers itself: {first:?}, then {second:?}"));
        }
        second
    }
}
