//! What an order costs.

use serde::{Deserialize, Serialize};
use spillway_types::{Money, Sku, money::MoneyError};

/// A line at the price of its moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricedLine {
    /// What.
    pub sku: Sku,
    /// Its title at that moment.
    pub title: String,
    /// How many.
    pub quantity: u32,
    /// Price of one.
    pub unit_price: Money,
}

/// The price of an order; taken when its stock was reserved, never changed after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceSnapshot {
    /// What it is made of.
    pub lines: Vec<PricedLine>,
    /// Sum of the lines.
    pub goods_total: Money,
    /// What carrying it costs the buyer: nothing, for now.
    pub shipping: Money,
}

// === impl PricedLine ===

impl PricedLine {
    /// Price of the whole line.
    ///
    /// # Errors
    /// When it does not fit 64 bits of minor units.
    pub fn total(&self) -> Result<Money, MoneyError> {
        self.unit_price.checked_mul(self.quantity)
    }
}

impl PriceSnapshot {
    /// The price of some lines; `None` for no lines.
    ///
    /// # Errors
    /// When the currencies differ or the sum does not fit 64 bits of minor units.
    pub fn of(lines: Vec<PricedLine>) -> Result<Option<Self>, MoneyError> {
        let Some(first) = lines.first() else { return Ok(None) };
        let nothing = Money::zero(first.unit_price.currency);
        let goods_total = lines.iter().try_fold(nothing, |sum, line| sum.checked_add(line.total()?))?;
        Ok(Some(Self { lines, goods_total, shipping: nothing }))
    }

    /// Goods and shipping: what coupon, points and method pay together.
    ///
    /// # Errors
    /// When it does not fit 64 bits of minor units.
    pub fn amount(&self) -> Result<Money, MoneyError> {
        self.goods_total.checked_add(self.shipping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sku: &str, quantity: u32, minor: i64, currency: &str) -> PricedLine {
        let unit_price = Money::new(minor, currency.parse().unwrap());
        PricedLine { sku: Sku::new(sku).unwrap(), title: sku.to_owned(), quantity, unit_price }
    }

    #[test]
    fn totals_add_up_or_are_refused() {
        let price = PriceSnapshot::of(vec![line("A", 3, 1_050, "EUR"), line("B", 1, 99, "EUR")]).unwrap().unwrap();
        assert_eq!(price.goods_total, Money::new(3_249, "EUR".parse().unwrap()));
        assert_eq!(price.amount(), Ok(price.goods_total));
        assert_eq!(PriceSnapshot::of(Vec::new()), Ok(None));
        let mixed = PriceSnapshot::of(vec![line("A", 1, 1, "EUR"), line("B", 1, 1, "JPY")]);
        assert!(matches!(mixed, Err(MoneyError::MixedCurrencies(..))), "{mixed:?}");
        assert_eq!(PriceSnapshot::of(vec![line("A", 2, i64::MAX, "EUR")]), Err(MoneyError::Overflow));
    }
}
