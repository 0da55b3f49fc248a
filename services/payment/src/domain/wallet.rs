//! A buyer's points, kept in double entry: four accounts that always sum to zero.

use std::{fmt, str::FromStr};

use spillway_types::{BuyerId, Timestamp};

/// Where points can be. `Issued` mirrors what the house owes and is never positive; the others are never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Free to spend.
    Available,
    /// Held for payments that are not decided yet.
    Held,
    /// The house's side of what it gave out.
    Issued,
    /// Paid with.
    Spent,
}

/// The balances of one buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// Whose.
    pub buyer: BuyerId,
    /// Balance of [`Account::Available`].
    pub available: i64,
    /// Balance of [`Account::Held`].
    pub held: i64,
    /// Balance of [`Account::Issued`].
    pub issued: i64,
    /// Balance of [`Account::Spent`].
    pub spent: i64,
    /// Raised by one with every transfer.
    pub version: i64,
}

/// Points that moved from one account to another. Its id says why and can exist only once, so that no effect happens
/// twice even if the code above were wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Whose points.
    pub buyer: BuyerId,
    /// Why, and for what: `hold:<payment>`, `grant:<request>` and so on.
    pub id: String,
    /// Where they were.
    pub from: Account,
    /// Where they are now.
    pub to: Account,
    /// How many; more than 0.
    pub points: i64,
    /// For people; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Every account with its stored name.
const ACCOUNTS: [(Account, &str); 4] = [
    (Account::Available, "points:available"),
    (Account::Held, "points:held"),
    (Account::Issued, "points:issued"),
    (Account::Spent, "points:spent"),
];

// === impl Account ===

impl Account {
    /// The stored name.
    pub fn as_str(self) -> &'static str {
        let found = ACCOUNTS.iter().find(|(account, _)| *account == self);
        found.map_or("points:unknown", |(_, name)| name)
    }
}

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = ACCOUNTS.iter().find(|(_, name)| *name == text);
        found.map(|(account, _)| *account).ok_or_else(|| format!("{text:?} is no account"))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Wallet ===

impl Wallet {
    /// A wallet that nothing was ever put into.
    pub const fn empty(buyer: BuyerId) -> Self {
        Self { buyer, available: 0, held: 0, issued: 0, spent: 0, version: 0 }
    }

    /// The wallet after a transfer; `None` when an account does not have that much, or would hold more than fits.
    pub fn after(&self, transfer: &Transfer) -> Option<Self> {
        let mut next = self.clone();
        next.version += 1;
        let from = next.balance(transfer.from);
        *from = from.checked_sub(transfer.points)?;
        let to = next.balance(transfer.to);
        *to = to.checked_add(transfer.points)?;
        let sound = transfer.points > 0 && next.available >= 0 && next.held >= 0 && next.spent >= 0 && next.issued <= 0;
        sound.then_some(next)
    }

    const fn balance(&mut self, account: Account) -> &mut i64 {
        match account {
            Account::Available => &mut self.available,
            Account::Held => &mut self.held,
            Account::Issued => &mut self.issued,
            Account::Spent => &mut self.spent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(from: Account, to: Account, points: i64) -> Transfer {
        Transfer {
            buyer: BuyerId::new("ada").unwrap(),
            id: "t".to_owned(),
            from,
            to,
            points,
            reason: String::new(),
            at: Timestamp::default(),
        }
    }

    #[test]
    fn accounts_sum_to_zero_and_none_is_overdrawn() {
        let wallet = Wallet::empty(BuyerId::new("ada").unwrap());
        let wallet = wallet.after(&transfer(Account::Issued, Account::Available, 100)).unwrap();
        let wallet = wallet.after(&transfer(Account::Available, Account::Held, 60)).unwrap();
        assert_eq!((wallet.available, wallet.held, wallet.issued, wallet.spent), (40, 60, -100, 0));
        assert_eq!(wallet.after(&transfer(Account::Available, Account::Held, 41)), None, "overdrawn");
        assert_eq!(wallet.after(&transfer(Account::Held, Account::Spent, 61)), None, "more than is held");
        assert_eq!(wallet.after(&transfer(Account::Held, Account::Available, -1)), None, "backwards");
        assert_eq!(wallet.after(&transfer(Account::Issued, Account::Available, i64::MAX)), None, "overflow");
    }
}
