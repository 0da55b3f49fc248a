//! Identifiers. All are UUIDs; an order's id also tells when it was made, which slot its buyer belongs to, and which
//! saga partition drives it.

use std::{fmt, str::FromStr};

use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BuyerId, Timestamp};

/// How many buyer slots there are; a cell map assigns slots to cells.
pub const SLOTS: u32 = 1_000;

/// Defines a UUID newtype with parsing, printing and serde.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is known to be of this kind.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// The bare UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

id!(
    /// An order, and with it the order's saga, reservation and payment, which carry the same id.
    OrderId
);
id!(
    /// A parcel's worth of an order, from one warehouse.
    ShipmentId
);
id!(
    /// A caller's idempotency key.
    RequestId
);
id!(
    /// A published event; consumers remember it to take each event once.
    EventId
);

/// One of the 256 groups of sagas that a replica of the orchestrator can own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u8);

// === impl OrderId ===

impl OrderId {
    /// Mints an id in `partition`: RFC 9562 version 8, laid out as 48 bits of Unix milliseconds, 10 bits of slot, then
    /// (after the variant bits) 8 bits of partition, and random bits in what is left (56 of them, so that a clock that
    /// jumps back cannot make two ids alike).
    pub fn mint(now: Timestamp, buyer: &BuyerId, partition: Partition) -> Self {
        let mut bytes: [u8; 16] = rand::rng().random();
        let millis = now.as_millis().to_be_bytes();
        bytes[..6].copy_from_slice(&millis[2..]);
        let [_, _, slot_high, slot_low] = slot(buyer).to_be_bytes();
        // 12 bits behind the version nibble: 10 of slot, then two random ones.
        bytes[6] = (slot_high << 2) | (slot_low >> 6);
        bytes[7] = (slot_low << 2) | (bytes[7] & 0b11);
        // The variant takes the top two bits of byte 8; the partition takes byte 9.
        bytes[9] = partition.0;
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// When the id was minted, to the millisecond.
    pub fn minted_at(self) -> Timestamp {
        let bytes = self.0.as_bytes();
        let millis = bytes[..6].iter().fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
        Timestamp::from_micros(millis.saturating_mul(1_000))
    }

    /// The buyer's slot.
    pub fn slot(self) -> u32 {
        let bytes = self.0.as_bytes();
        (u32::from(bytes[6] & 0x0f) << 6) | u32::from(bytes[7] >> 2)
    }

    /// The saga partition.
    pub fn partition(self) -> Partition {
        Partition(self.0.as_bytes()[9])
    }
}

/// A buyer's slot: 32-bit FNV-1a of the buyer id, modulo [`SLOTS`].
pub fn slot(buyer: &BuyerId) -> u32 {
    let hash =
        buyer.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % SLOTS
}

// === impl RequestId, EventId ===

impl RequestId {
    /// A fresh random key.
    #[expect(clippy::disallowed_methods, reason = "keys need no slot or partition")]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl EventId {
    /// A fresh random id.
    #[expect(clippy::disallowed_methods, reason = "event ids need no slot or partition")]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

// === impl ShipmentId ===

impl ShipmentId {
    /// The `index`-th shipment of an order. Derived from the order's id, so that planning again names the same parcels.
    pub fn of_order(order: OrderId, index: u16) -> Self {
        let mut bytes = *order.0.as_bytes();
        let [high, low] = index.to_be_bytes();
        // The last two random bytes give way; a marker bit keeps shipment 0 apart from its order.
        bytes[10] ^= 0x80;
        bytes[14] ^= high;
        bytes[15] ^= low;
        Self(Uuid::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_order_id_gives_back_what_it_was_minted_from() {
        let now = Timestamp::from_micros(1_795_219_199_999_000);
        for (n, name) in ["ada", "grace", "edsger", "barbara"].into_iter().cycle().take(256).enumerate() {
            let buyer = BuyerId::new(name).unwrap();
            let partition = Partition(u8::try_from(n).unwrap());
            let id = OrderId::mint(now, &buyer, partition);
            assert_eq!((id.minted_at(), id.slot(), id.partition()), (now, slot(&buyer), partition), "{id}");
            assert_eq!((id.uuid().get_version_num(), id.uuid().get_variant()), (8, uuid::Variant::RFC4122), "{id}");
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_jumps_back_never_mints_two_alike() {
        let buyer = BuyerId::new("ada").unwrap();
        let moments = [1_795_219_199_999_000, 1_795_219_199_979_000, 1_795_215_599_999_000];
        let ids: HashSet<_> =
            (0..30_000).map(|n| OrderId::mint(Timestamp::from_micros(moments[n % 3]), &buyer, Partition(7))).collect();
        assert_eq!(ids.len(), 30_000);
    }

    #[test]
    fn shipments_of_an_order_are_distinct_and_stable() {
        let order = OrderId::mint(Timestamp::from_micros(1), &BuyerId::new("ada").unwrap(), Partition(0));
        let ids: HashSet<_> = (0..500).map(|n| ShipmentId::of_order(order, n)).collect();
        assert_eq!(ids.len(), 500);
        assert!(!ids.contains(&ShipmentId::new(order.uuid())));
        assert_eq!(ShipmentId::of_order(order, 3), ShipmentId::of_order(order, 3));
    }
}
