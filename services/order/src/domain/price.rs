//! The price of an order, as inventory gave it when the stock was reserved.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use spillway_types::{Money, Sku, Violations, money::MoneyError};

/// A price snapshot. One currency throughout; its sums add up (invariant I16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// A line each, one per SKU.
    pub lines: Vec<PricedLine>,
    /// Sum of the lines.
    pub goods_total: Money,
    /// What carrying it costs the buyer.
    pub shipping: Money,
    /// What a coupon takes off, as a positive amount.
    pub discount: Money,
    /// Goods plus shipping minus discount.
    pub total: Money,
}

/// Units of one SKU, at the price of the moment.
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
    /// Price of all.
    pub line_total: Money,
}

// === impl Price ===

impl Price {
    /// Notes every sum that does not add up, and every SKU that stands twice. `field` is where the price stands in the
    /// request.
    pub fn check(&self, field: &str, wrong: &mut Violations) {
        let mut seen = BTreeSet::new();
        for (index, line) in self.lines.iter().enumerate() {
            if !seen.insert(&line.sku) {
                wrong.add(format!("{field}.lines[{index}].sku"), format!("{} stands on another line, too", line.sku));
            }
            let sum = line.unit_price.checked_mul(line.quantity);
            expect(sum, line.line_total, &format!("{field}.lines[{index}].line_total"), wrong);
        }
        let nothing = Ok(Money::zero(self.total.currency));
        let goods = self.lines.iter().fold(nothing, |sum, line| sum?.checked_add(line.line_total));
        expect(goods, self.goods_total, &format!("{field}.goods_total"), wrong);
        let total = self.goods_total.checked_add(self.shipping).and_then(|sum| sum.checked_sub(self.discount));
        expect(total, self.total, &format!("{field}.total"), wrong);
    }
}

fn expect(sum: Result<Money, MoneyError>, given: Money, field: &str, wrong: &mut Violations) {
    match sum {
        Ok(sum) if sum == given => {}
        Ok(sum) => wrong.add(field, format!("is {given}, but adds up to {sum}")),
        Err(error) => wrong.add(field, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use spillway_types::Fault;

    use super::*;
    use crate::domain::tests::{euros, price};

    fn wrong_fields(price: &Price) -> Vec<String> {
        let mut wrong = Violations::default();
        price.check("price", &mut wrong);
        Fault::from(wrong).fields.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_price_that_does_not_add_up_is_told_field_by_field() {
        let good = price(3);
        assert!(wrong_fields(&good).is_empty());

        let mut line = good.clone();
        line.lines[1].line_total.minor += 1;
        assert_eq!(wrong_fields(&line), ["price.lines[1].line_total", "price.goods_total"]);

        let twice = Price { lines: vec![good.lines[0].clone(), good.lines[0].clone()], ..good.clone() };
        assert_eq!(wrong_fields(&twice), ["price.lines[1].sku", "price.goods_total"]);

        let free = Price { discount: euros(1), ..good.clone() };
        assert_eq!(wrong_fields(&free), ["price.total"]);

        let mixed = Price { shipping: Money::new(0, "JPY".parse().unwrap()), ..good };
        assert_eq!(wrong_fields(&mixed), ["price.total"]);
    }
}
