//! Where orders go, and where warehouses send to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where an order goes: `EU`, or an ISO 3166-1 alpha-2 country code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region([u8; 2]);

/// Where a warehouse sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Coverage {
    /// `*`: to every region.
    Everywhere,
    /// To this one; `EU` covers its member states.
    Within(Region),
}

/// A text that names no region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegion {
    /// What an order may say.
    #[error("must be `EU` or an ISO 3166-1 alpha-2 country code in upper case, such as `DE`")]
    Region,
    /// What a warehouse may say.
    #[error("must be `*` (everywhere), `EU`, or an ISO 3166-1 alpha-2 country code in upper case, such as `DE`")]
    Coverage,
}

/// The European Union as one region.
const EU: Region = Region(*b"EU");
/// Its member states.
const EU_MEMBERS: [&[u8; 2]; 27] = [
    b"AT", b"BE", b"BG", b"CY", b"CZ", b"DE", b"DK", b"EE", b"ES", b"FI", b"FR", b"GR", b"HR", b"HU", b"IE", b"IT",
    b"LT", b"LU", b"LV", b"MT", b"NL", b"PL", b"PT", b"RO", b"SE", b"SI", b"SK",
];

// === impl Region ===

impl Region {
    /// The code.
    pub fn as_str(&self) -> &str {
        // Two ASCII letters by construction, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or("XX")
    }
}

impl FromStr for Region {
    type Err = InvalidRegion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match <[u8; 2]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(InvalidRegion::Region),
        }
    }
}

impl TryFrom<String> for Region {
    type Error = InvalidRegion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.as_str().to_owned()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Coverage ===

impl Coverage {
    /// Whether an order that goes to `region` can be served.
    pub fn includes(self, region: Region) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Within(EU) => region == EU || EU_MEMBERS.contains(&&region.0),
            Self::Within(own) => own == region,
        }
    }
}

impl FromStr for Coverage {
    type Err = InvalidRegion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Everywhere);
        }
        text.parse().map(Self::Within).map_err(|_| InvalidRegion::Coverage)
    }
}

impl TryFrom<String> for Coverage {
    type Error = InvalidRegion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Coverage> for String {
    fn from(coverage: Coverage) -> Self {
        coverage.to_string()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("*"),
            Self::Within(region) => region.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warehouse_for_the_union_serves_its_members_and_nobody_else() {
        let serves = |own: &str, to: &str| own.parse::<Coverage>().unwrap().includes(to.parse().unwrap());
        assert!(serves("EU", "DE") && serves("EU", "EU") && serves("*", "US") && serves("US", "US"));
        assert!(!serves("EU", "CH") && !serves("DE", "EU") && !serves("US", "DE"));
    }

    #[test]
    fn only_codes_and_the_star_are_regions() {
        for bad in ["", "de", "DEU", "D1", "**"] {
            assert_eq!(bad.parse::<Region>(), Err(InvalidRegion::Region), "{bad}");
            assert_eq!(bad.parse::<Coverage>(), Err(InvalidRegion::Coverage), "{bad}");
        }
        assert!("*".parse::<Region>().is_err(), "an order goes to one place");
    }
}
