use std::sync::atomic::{AtomicUsize, Ordering};

use spillway_types::{Money, OrderId};

use super::*;
use crate::domain::Ask;

const PATIENCE: Duration = Duration::from_secs(2);

/// A provider that knows nothing, behind a process that stands still for a while at the first look-up.
#[derive(Debug, Default)]
struct Behind {
    standstill: Duration,
    performed: AtomicUsize,
}

#[async_trait]
impl Provider for Behind {
    fn check(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn perform(&self, _: &Task) -> Result<Outcome, Silence> {
        self.performed.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Captured)
    }

    async fn lookup(&self, _: &Task) -> Result<Option<Outcome>, Silence> {
        tokio::time::advance(self.standstill).await;
        Ok(None)
    }
}

#[tokio::test(start_paused = true)]
async fn who_stood_still_too_long_does_not_ask_for_what_others_may_have_settled() {
    let amount = Money::new(1_000, "EUR".parse().unwrap());
    let task = Task {
        payment_id: OrderId::new(uuid::Uuid::from_u128(1)),
        ask: Ask::Capture,
        amount,
        instrument: "card".to_owned(),
    };
    for (standstill, asked) in [(Duration::ZERO, 1), (PATIENCE / 2, 1), (LEAVE + PATIENCE, 0)] {
        let provider = Behind { standstill, ..Behind::default() };
        let told = ask(&provider, &task, Leave::new(false, Instant::now()), PATIENCE).await;
        assert_eq!(provider.performed.load(Ordering::SeqCst), asked, "{standstill:?}: {told:?}");
        assert_eq!(told.is_ok(), asked == 1, "{standstill:?}: {told:?}");

        // The same before the very first time of asking, which is not looked up.
        let provider = Behind::default();
        let leave = Leave::new(true, Instant::now());
        tokio::time::advance(standstill).await;
        let told = ask(&provider, &task, leave, PATIENCE).await;
        assert_eq!((told.is_ok(), provider.performed.load(Ordering::SeqCst)), (asked == 1, asked), "{standstill:?}");
    }
}
