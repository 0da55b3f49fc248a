//! The retry budget of a target: retries are a share of first attempts, plus a floor for quiet times.
//!
//! tower's `TpsBudget` truncates its ratio (0.3 acts as a third) and checks and takes in two steps. Ours counts whole
//! milli-tokens, and holds balance and time in one atomic word. Ten seconds are remembered: each tenth of a second
//! the balance loses a hundredth, and gains its part of the floor.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use crate::config::RetryConfig;

/// A retry costs this much.
const TOKEN: u32 = 1_000;

/// Length of a step, in milliseconds.
const STEP_MS: u128 = 100;

/// After so many idle steps (100 s) the balance has long become what the floor alone makes it.
const SETTLED_AFTER: u32 = 1_000;

/// Tokens of one target.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Step in the upper half, balance in milli-tokens in the lower.
    word: AtomicU64,
    origin: Instant,
    /// Milli-tokens that a first attempt adds.
    per_call: u32,
    /// Milli-tokens that a step adds.
    per_step: u32,
}

/// One retry's token: taken when the retry is scheduled and held while it waits, so that retries that wait are counted.
/// Goes back when the retry is never sent.
#[derive(Debug)]
pub(crate) struct Token {
    budget: Arc<Budget>,
    spent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    step: u32,
    balance: u32,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(config: &RetryConfig, origin: Instant) -> Self {
        // Begins with what the floor gives in a second.
        let second = config.budget_floor_per_s.saturating_mul(TOKEN);
        let account = Account { step: 0, balance: second };
        let per_call = config.budget_percent.saturating_mul(TOKEN / 100);
        Self { word: AtomicU64::new(account.pack()), origin, per_call, per_step: second / 10 }
    }

    /// Notes a first attempt.
    pub(crate) fn deposit(&self, now: Instant) {
        self.change(now, |balance| Some(balance.saturating_add(self.per_call)));
    }

    /// Takes a token for a retry, if there is one.
    pub(crate) fn withdraw(self: &Arc<Self>, now: Instant) -> Option<Token> {
        let taken = self.change(now, |balance| balance.checked_sub(TOKEN));
        taken.then(|| Token { budget: Arc::clone(self), spent: false })
    }

    fn change(&self, now: Instant, change: impl Fn(u32) -> Option<u32>) -> bool {
        let step = u32::try_from(now.saturating_duration_since(self.origin).as_millis() / STEP_MS).unwrap_or(u32::MAX);
        let update = |word| {
            let account = Account::unpack(word).at(step, self.per_step);
            Some(Account { balance: change(account.balance)?, ..account }.pack())
        };
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }

    fn refund(&self) {
        self.change(self.origin, |balance| Some(balance.saturating_add(TOKEN)));
    }
}

// === impl Token ===

impl Token {
    /// The retry is sent.
    pub(crate) fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.spent {
            self.budget.refund();
        }
    }
}

// === impl Account ===

impl Account {
    fn pack(self) -> u64 {
        u64::from(self.step) << 32 | u64::from(self.balance)
    }

    fn unpack(word: u64) -> Self {
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Self { step: half(word >> 32), balance: half(word) }
    }

    /// The account at a later step; a clock that reads earlier changes nothing.
    fn at(self, step: u32, per_step: u32) -> Self {
        let passed = step.saturating_sub(self.step);
        if passed > SETTLED_AFTER {
            return Self { step, balance: per_step.saturating_mul(100) };
        }
        let balance = (0..passed).fold(self.balance, |balance, _| {
            // Rounded up, so that small balances are forgotten as well.
            (balance - balance.div_ceil(100)).saturating_add(per_step)
        });
        Self { step: self.step.max(step), balance }
    }
}

#[cfg(test)]
mod tests;
