//! What a command said, in a few bytes: how a reused idempotency key is told from a repeat.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version of the normal form that [`Fingerprint::of`] hashes. A record is compared under the version it was
/// written with; raise this when a command's serialised form changes.
const VERSION: u8 = 1;

/// The version of the normal form, then SHA-256 of the command in it, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of a command. The command is the parsed one, so that wire encoding, field order and unknown
    /// fields do not matter.
    pub fn of(command: &impl Serialize) -> Self {
        use fmt::Write;
        // A command is plain data; only a map with keys that are no strings could fail to serialise.
        let normal = serde_json::to_vec(command).unwrap_or_default();
        let mut text = format!("{VERSION}:");
        for byte in Sha256::digest(&normal) {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// A fingerprint as it was stored.
    pub const fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_commands_have_equal_fingerprints_and_others_do_not() {
        assert_eq!(Fingerprint::of(&("a", 1)), Fingerprint::of(&("a", 1)));
        assert_ne!(Fingerprint::of(&("a", 1)), Fingerprint::of(&("a", 2)));
        assert!(Fingerprint::of(&()).as_str().starts_with("1:") && Fingerprint::of(&()).as_str().len() == 66);
    }
}
