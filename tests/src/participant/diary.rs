//! What was asked and what was answered, kept outside of the platform: what a kill, or a caller that left, is judged by.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use spillway_types::{Class, Fault, OrderId};
use tokio::time::sleep;

use super::{Answer, Subject, Wording};
use crate::shop::Shop;

/// How often an answer that decides nothing is asked for again.
const ASKS_MAX: u32 = 200;
/// Pause between two of these.
const PAUSE: Duration = Duration::from_millis(20);

/// Something asked of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The saga's command.
    Forward,
    /// Its compensation.
    Compensate,
    /// A command that is refused.
    Refuse,
}

/// The last deed for each order, and its answer if there was one.
#[derive(Debug, Default)]
pub struct Diary(Mutex<HashMap<OrderId, Entry>>);

/// A deed, and its answer if one was heard that decides anything.
type Entry = (Deed, Option<Result<Answer, Fault>>);

/// What a diary's deeds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Deeds whose answer had been heard, and was heard again.
    pub heard: u32,
    /// Deeds whose answer had not been heard, and was found out.
    pub found_out: u32,
    /// Orders that something is held for.
    pub held: i64,
}

// === impl Deed ===

impl Deed {
    /// Does it once.
    ///
    /// # Errors
    /// What the participant says against it.
    pub async fn done(self, by: Subject, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        match self {
            Self::Forward => by.forward(shop, order_id, Wording::Usual).await,
            Self::Compensate => by.compensate(shop, order_id).await,
            Self::Refuse => by.refuse(shop, order_id).await,
        }
    }

    /// Does it until the answer decides something, as a saga does.
    ///
    /// # Errors
    /// The participant's refusal.
    pub async fn settled(self, by: Subject, shop: &Shop, order_id: OrderId) -> Result<Answer, Fault> {
        for _ in 0..ASKS_MAX {
            let answer = self.done(by, shop, order_id).await;
            if decides(&answer) {
                return answer;
            }
            sleep(PAUSE).await;
        }
        panic!("{self:?} of {order_id} is still undecided after {ASKS_MAX} asks");
    }
}

// === impl Diary ===

impl Diary {
    /// Does something, noted before it begins and when it is answered. Gives the answer, if it decides anything.
    pub async fn note(&self, deed: Deed, by: Subject, shop: &Shop, order_id: OrderId) -> Option<Result<Answer, Fault>> {
        self.write(order_id, deed, None);
        let answer = Some(deed.done(by, shop, order_id).await).filter(decides);
        self.write(order_id, deed, answer.clone());
        answer
    }

    /// Asks everything again. What was answered must be answered alike, and the rest must be found out.
    pub async fn settle(self, by: Subject, shop: &Shop) -> Settled {
        let mut settled = Settled::default();
        for (order_id, (deed, heard)) in self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let now = deed.settled(by, shop, order_id).await;
            match heard {
                Some(heard) => {
                    assert_eq!(now, heard, "{deed:?} of {order_id} was answered otherwise before");
                    settled.heard += 1;
                }
                None => settled.found_out += 1,
            }
            match deed {
                Deed::Forward => {
                    assert_eq!(now.unwrap().state, by.states().done, "{order_id}");
                    settled.held += 1;
                }
                Deed::Compensate => assert_eq!(now.unwrap().state, by.states().undone, "{order_id}"),
                Deed::Refuse => {
                    let fault = now.unwrap_err();
                    assert_eq!((fault.reason, fault.is_recorded()), (by.refusal(), true), "{order_id}: {fault:?}");
                }
            }
        }
        settled
    }

    fn write(&self, order_id: OrderId, deed: Deed, answer: Option<Result<Answer, Fault>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(order_id, (deed, answer));
    }
}

/// Whether an answer decides anything: a fault that is not terminal says only that nobody knows.
fn decides(answer: &Result<Answer, Fault>) -> bool {
    answer.as_ref().err().is_none_or(|fault| fault.reason.class() == Class::Terminal)
}
