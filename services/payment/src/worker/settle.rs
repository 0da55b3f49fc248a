//! Settling: the one place that asks the provider and writes down what it said.
//!
//! A command that needs the provider leaves a row that says so; then the provider is asked, and a second command notes
//! the answer. Nothing is held at the database meanwhile: a settler has no connection, only the queue of the writer, who
//! never waits for anything but the database.
//!
//! Within a process only one flight a payment (or refund) is under way, and whoever else comes waits for it. Replicas do
//! not wait for each other: a call that comes to another one is looked up at the provider, which does each task once. What
//! no call looks after is shared out among the sweepers by claims. A settler that dies or is frozen loses nothing, since
//! all that is known of a payment is in its row; and it spoils nothing when it goes on, since a note of what has been noted
//! already changes nothing, and [`clients::Leave`] keeps it from asking again for what is long done.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use spillway_storage::Committer;
use spillway_types::{Fault, OrderId, Reason, RequestId};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    clients::{self, Leave, Provider},
    domain::{Answer, Ask, Command, Payment, Task},
    store::{Reader, Till, Unsettled},
};

/// How often a command is judged again after a flight that it had to wait for. Each flight moves the payment on by at
/// least one state, and no command waits for more than an authorisation, a capture and a void.
const ROUNDS: u32 = 4;
/// How long what is open is left to the call that opened it before the sweeper looks after it.
const GRACE: Duration = Duration::from_secs(5);
/// Open payments that one pass of the sweeper takes up, and as many refunds; the rest waits for the next.
const SWEEP_MAX: u32 = 256;
/// Most calls of one flight: look up, ask, look up what became of it.
const CALLS_MAX: u32 = 3;
/// What a claim lasts longer than the calls of a flight: the time to note an answer, with a database that is slow.
const CLAIM_SLACK: Duration = Duration::from_secs(4);
/// How long the sweeper waits for the store before it looks again: a connection on which nothing comes any more must not
/// end its work.
const LOOK_WAIT: Duration = Duration::from_secs(5);
/// Calls to the provider that the sweeper has under way at a time, so that callers are not starved by the past.
const SWEEP_CONCURRENCY: usize = 16;

/// Carries commands out to the end, the provider's part included. Cheap to clone.
#[derive(Clone)]
pub struct Settler {
    committer: Committer<Till>,
    provider: Arc<dyn Provider>,
    /// How long one call to the provider may take.
    patience: Duration,
    flights: Arc<Mutex<HashMap<Unsettled, watch::Receiver<Landing>>>>,
}

/// What a flight ended with; `None` while it is under way.
type Landing = Option<Result<Payment, Fault>>;

/// Takes a flight off the list when it ends, however it ends.
struct OnBoard<'a> {
    settler: &'a Settler,
    key: Unsettled,
    landing: watch::Sender<Landing>,
}

// === impl Settler ===

impl Settler {
    /// A settler that gives the provider `patience` for each call.
    pub fn new(committer: Committer<Till>, provider: Arc<dyn Provider>, patience: Duration) -> Self {
        Self { committer, provider, patience, flights: Arc::default() }
    }

    /// The provider.
    pub fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    /// Carries a command out, in a task of its own: a caller that leaves does not stop it half-way.
    ///
    /// # Errors
    /// The refusal; `OUTCOME_UNKNOWN` while the provider is silent.
    pub async fn carry_out(&self, command: Command) -> Result<Payment, Fault> {
        let settler = self.clone();
        let carried = tokio::spawn(async move { settler.run(command).await });
        carried.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a command ended early");
            Err(Fault::internal())
        })
    }

    async fn run(&self, command: Command) -> Result<Payment, Fault> {
        for _ in 0..ROUNDS {
            let now = Instant::now();
            let (task, leave) = match self.committer.submit(command.clone()).await?? {
                Answer::Payment(payment) => return Ok(*payment),
                Answer::Open { task, fresh } => (task, Leave::new(fresh, now)),
                Answer::Wallet => return Err(Fault::internal()),
            };
            let ask = task.ask;
            let landed = self.settle(task, leave).await;
            match landed {
                // What the command asked for has come true; anything else it has to be told in its own words.
                Ok(payment) if opens(&command, ask) && ask.hoped_for() == Some(payment.state) => return Ok(payment),
                Err(fault) if !fault.is_recorded() => return Err(fault),
                Ok(_) | Err(_) => {}
            }
        }
        Err(unknown())
    }

    /// Asks the provider, or waits for whoever is asking already.
    async fn settle(&self, task: Task, leave: Leave) -> Result<Payment, Fault> {
        let key = key(&task);
        let (flight, mut landing) = self.board(key);
        match flight {
            Some(flight) => {
                let landed = self.fly(task, leave).await;
                flight.landing.send_replace(Some(landed.clone()));
                landed
            }
            None => match landing.wait_for(Option::is_some).await {
                Ok(landed) => landed.clone().unwrap_or_else(|| Err(unknown())),
                Err(_) => Err(unknown()),
            },
        }
    }

    fn board(&self, key: Unsettled) -> (Option<OnBoard<'_>>, watch::Receiver<Landing>) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = flights.get(&key) {
            return (None, landing.clone());
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key, receiver.clone());
        (Some(OnBoard { settler: self, key, landing: sender }), receiver)
    }

    /// Asks and notes until nothing is open: a Void that came while an authorisation was under way is asked next.
    async fn fly(&self, mut task: Task, mut leave: Leave) -> Result<Payment, Fault> {
        loop {
            let asked = clients::ask(&*self.provider, &task, leave, self.patience).await;
            let outcome = asked.map_err(|silence| {
                tracing::warn!(reference = task.reference(), ask = ?task.ask, %silence, "left open; asked again later");
                unknown()
            })?;
            let note = Command::Settle { payment_id: task.payment_id, outcome };
            let now = Instant::now();
            match self.committer.submit(note).await?? {
                Answer::Payment(payment) => return Ok(*payment),
                Answer::Open { task: next, .. } => (task, leave) = (next, Leave::new(false, now)),
                Answer::Wallet => return Err(Fault::internal()),
            }
        }
    }

    /// Settles what a crash or a silent provider left open: takes up, every `interval`, what has been open for a while.
    pub async fn sweep(self, reader: Arc<dyn Reader>, interval: Duration, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.pass(&*reader, GRACE, &stop).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// Takes up some of what has been open for `idle`, and settles it or leaves it for another time.
    pub async fn pass(&self, reader: &dyn Reader, idle: Duration, stop: &CancellationToken) {
        let (taken_up, claim) = (Instant::now(), self.claim());
        let open = match tokio::time::timeout(LOOK_WAIT, reader.take_up(idle, claim, SWEEP_MAX)).await {
            Ok(Ok(open)) => open,
            Ok(Err(error)) => {
                tracing::warn!(%error, "looking for unsettled payments failed; trying again");
                return;
            }
            Err(_) => {
                tracing::warn!(waited = ?LOOK_WAIT, "looking for unsettled payments took too long; trying again");
                return;
            }
        };
        let resume = |(payment_id, refund): Unsettled| async move {
            // Once the claim is over somebody else may have taken it up.
            if stop.is_cancelled() || taken_up.elapsed() >= claim {
                return;
            }
            match self.carry_out(Command::Resume { payment_id, refund }).await {
                Ok(payment) => tracing::info!(%payment_id, state = %payment.state, "settled what was left open"),
                Err(fault) => tracing::info!(%payment_id, reason = %fault.reason, "tried to settle what was left open"),
            }
        };
        futures_util::stream::iter(open).for_each_concurrent(SWEEP_CONCURRENCY, resume).await;
    }

    /// For how long what a sweeper takes up is kept from others.
    fn claim(&self) -> Duration {
        self.patience * CALLS_MAX + CLAIM_SLACK
    }
}

/// Whether a task is what this command itself opens.
const fn opens(command: &Command, ask: Ask) -> bool {
    matches!(
        (command, ask),
        (Command::Authorize { .. }, Ask::Authorize)
            | (Command::Capture(_), Ask::Capture)
            | (Command::Void(_), Ask::Void)
            | (Command::Resume { .. }, _)
    )
}

fn key(task: &Task) -> (OrderId, Option<RequestId>) {
    match task.ask {
        Ask::Authorize | Ask::Capture | Ask::Void => (task.payment_id, None),
        Ask::Refund(request_id) => (task.payment_id, Some(request_id)),
    }
}

fn unknown() -> Fault {
    Fault::new(Reason::OutcomeUnknown, "the payment provider has not answered yet; ask again with the same request_id")
}

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settler").field("provider", &self.provider).finish_non_exhaustive()
    }
}

// === impl OnBoard ===

impl Drop for OnBoard<'_> {
    fn drop(&mut self) {
        self.settler.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
