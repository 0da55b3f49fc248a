//! Validated strings. One alphabet and one length limit a kind, so that no key of any store needs escaping.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a string is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// More bytes than the kind allows.
    #[error("must be at most {max} bytes long, has {has}")]
    TooLong {
        /// The limit in bytes.
        max: usize,
        /// What was given, in bytes.
        has: usize,
    },
    /// A character outside the alphabet.
    #[error("may hold letters, digits and any of `.` `_` `-` `:` `@`, not {0:?}")]
    BadCharacter(char),
}

fn check(text: &str, max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > max {
        return Err(InvalidName::TooLong { max, has: text.len() });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-:@".contains(*c))) {
        Some(bad) => Err(InvalidName::BadCharacter(bad)),
        None => Ok(()),
    }
}

/// Defines a validated string of at most `$max` bytes.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a string.
            ///
            /// # Errors
            /// When it is empty, too long, or holds a character outside the alphabet.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                check(&text, $max)?;
                Ok(Self(text))
            }

            /// The bare string.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// A stock-keeping unit: what inventory counts and sells. At most 64 bytes.
    Sku,
    64
);
name!(
    /// Who buys. At most 128 bytes.
    BuyerId,
    128
);
name!(
    /// Whose data it is. At most 64 bytes.
    TenantId,
    64
);
name!(
    /// A place that parcels leave from. At most 64 bytes.
    WarehouseId,
    64
);
name!(
    /// A coupon's code as a buyer types it. At most 64 bytes.
    CouponCode,
    64
);

// === impl TenantId ===

impl Default for TenantId {
    /// The tenant of callers without an identity of their own, as in embedded mode.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_border() {
        assert!(Sku::new("TEE-BLACK.M_2:eu@1").is_ok());
        assert_eq!(Sku::new(""), Err(InvalidName::Empty));
        assert_eq!(Sku::new("x".repeat(65)), Err(InvalidName::TooLong { max: 64, has: 65 }));
        assert_eq!(Sku::new("a b"), Err(InvalidName::BadCharacter(' ')));
        assert_eq!(Sku::new("naïve"), Err(InvalidName::BadCharacter('ï')));
    }
}
