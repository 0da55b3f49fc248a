//! Money: an integer of minor units and a currency. No floats, and no arithmetic that can wrap or mix currencies.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An ISO 4217 currency code, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// An amount of money. May be negative where a difference is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Amount in the currency's minor unit (cents for EUR, yen for JPY, fils for BHD).
    pub minor: i64,
    /// What it is an amount of.
    pub currency: Currency,
}

/// Why a sum could not be formed or an amount not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result does not fit 64 bits of minor units.
    #[error("the amount is too large")]
    Overflow,
    /// Two currencies in one sum.
    #[error("{0} and {1} cannot be added")]
    MixedCurrencies(Currency, Currency),
    /// Not three upper-case letters.
    #[error("{0:?} is not a currency code of three upper-case letters")]
    BadCurrency(String),
    /// A fraction finer than the currency's minor unit, or `nanos` out of range or of the wrong sign.
    #[error("the amount is not a whole number of minor units of {0}")]
    NotWhole(Currency),
}

/// Currencies without a minor unit.
const NO_DECIMALS: [&str; 16] =
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XPF"];
/// Currencies of a thousand minor units.
const THREE_DECIMALS: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

// === impl Currency ===

impl Currency {
    /// The code, such as `EUR`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// How many decimal digits the minor unit stands for (ISO 4217): 0 for JPY, 2 for EUR, 3 for BHD.
    pub fn decimals(self) -> u32 {
        let code = self.as_str();
        if NO_DECIMALS.contains(&code) || code == "XOF" {
            0
        } else if THREE_DECIMALS.contains(&code) {
            3
        } else {
            2
        }
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(MoneyError::BadCurrency(text.chars().take(16).collect())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Money ===

impl Money {
    /// An amount in minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The sum.
    ///
    /// # Errors
    /// When the currencies differ or the sum overflows.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    /// The difference; may be negative.
    ///
    /// # Errors
    /// When the currencies differ or the difference overflows.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    /// The amount `times` over.
    ///
    /// # Errors
    /// When the product overflows.
    pub fn checked_mul(self, times: u32) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(times)).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// From whole units and billionths of a unit, as `google.type.Money` has them; both of one sign.
    ///
    /// # Errors
    /// When the amount is no whole number of minor units, or too large.
    pub fn from_units(currency: Currency, units: i64, nanos: i32) -> Result<Self, MoneyError> {
        let per_unit = 10_i64.pow(currency.decimals());
        let nanos_per_minor = 1_000_000_000 / per_unit;
        let nanos = i64::from(nanos);
        let signs_agree = units == 0 || nanos == 0 || (units < 0) == (nanos < 0);
        if !signs_agree || nanos.abs() >= 1_000_000_000 || nanos % nanos_per_minor != 0 {
            return Err(MoneyError::NotWhole(currency));
        }
        let minor = units.checked_mul(per_unit).and_then(|whole| whole.checked_add(nanos / nanos_per_minor));
        Ok(Self { minor: minor.ok_or(MoneyError::Overflow)?, currency })
    }

    /// Whole units and billionths of a unit, as `google.type.Money` has them.
    pub fn to_units(self) -> (i64, i32) {
        let per_unit = 10_i64.pow(self.currency.decimals());
        let nanos = self.minor % per_unit * (1_000_000_000 / per_unit);
        (self.minor / per_unit, i32::try_from(nanos).unwrap_or_default())
    }

    fn combine(self, other: Self, op: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies(self.currency, other.currency));
        }
        Ok(Self { minor: op(self.minor, other.minor).ok_or(MoneyError::Overflow)?, ..self })
    }
}

impl fmt::Display for Money {
    /// `12.30 EUR`, `1200 JPY`, `-0.05 EUR`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals();
        let per_unit = 10_u64.pow(decimals);
        let magnitude = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / per_unit)?;
        if decimals > 0 {
            write!(f, ".{:0width$}", magnitude % per_unit, width = usize::try_from(decimals).unwrap_or(2))?;
        }
        write!(f, " {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().unwrap())
    }

    #[test]
    fn amounts_survive_the_wire_in_every_currency() {
        for code in ["EUR", "JPY", "BHD"] {
            for minor in [0, 1, -1, 99, 100, 12_345, -12_345, i64::from(i32::MAX) * 7] {
                let amount = money(minor, code);
                let (units, nanos) = amount.to_units();
                assert_eq!(Money::from_units(amount.currency, units, nanos), Ok(amount), "{amount}");
            }
        }
    }

    #[test]
    fn amounts_that_no_till_could_pay_are_refused() {
        let eur = "EUR".parse().unwrap();
        let jpy = "JPY".parse().unwrap();
        assert_eq!(Money::from_units(eur, 1, 1_000_000), Err(MoneyError::NotWhole(eur)));
        assert_eq!(Money::from_units(jpy, 1, 500_000_000), Err(MoneyError::NotWhole(jpy)));
        assert_eq!(Money::from_units(eur, 1, -10_000_000), Err(MoneyError::NotWhole(eur)));
        assert_eq!(Money::from_units(eur, i64::MAX, 0), Err(MoneyError::Overflow));
        assert_eq!(money(i64::MAX, "EUR").checked_add(money(1, "EUR")), Err(MoneyError::Overflow));
        assert_eq!(money(1, "EUR").checked_add(money(1, "JPY")), Err(MoneyError::MixedCurrencies(eur, jpy)));
        assert!("eur".parse::<Currency>().is_err() && "EURO".parse::<Currency>().is_err());
    }

    #[test]
    fn amounts_print_with_their_own_decimals() {
        for (amount, text) in [
            (money(1_230, "EUR"), "12.30 EUR"),
            (money(-5, "EUR"), "-0.05 EUR"),
            (money(1_200, "JPY"), "1200 JPY"),
            (money(1_234, "BHD"), "1.234 BHD"),
        ] {
            assert_eq!(amount.to_string(), text);
        }
    }
}
