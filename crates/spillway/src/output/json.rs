//! Answers as JSON: protobuf's own mapping, with the names of the protos, so that the comments there document this form
//! too. Numbers of 64 bits are numbers, and fields that hold nothing are there as well.

use std::{fmt, sync::LazyLock};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Serializer;
use spillway_contracts::{FILE_DESCRIPTOR_SET, admin, fulfilment, inventory, orchestrator, order, payment};

use super::Failure;

/// What messages look like.
static PROTOS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the build wrote the set, and a test reads it")]
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("a valid descriptor set")
});

/// How much room a document takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// A line a field, for eyes.
    Many,
    /// One, for streams of documents.
    One,
}

/// A message that can be an answer.
pub(crate) trait Answer: Message {
    /// Its full name in the protos.
    const NAME: &str;
}

/// Says of each message what it is called in the protos, and makes a list of all names.
macro_rules! answers {
    ($($domain:ident { $($message:ident),+ $(,)? })+) => {
        $($(impl Answer for $domain::v1::$message {
            const NAME: &str = concat!("spillway.", stringify!($domain), ".v1.", stringify!($message));
        })+)+

        #[cfg(test)]
        const NAMES: &[&str] = &[$($($domain::v1::$message::NAME),+),+];
    };
}

answers! {
    admin { ListDeadLettersResponse, ReplayDeadLettersResponse }
    orchestrator {
        PlaceOrderResponse, CancelOrderResponse, LookupOrderResponse, GetSagaResponse, ListSagasResponse,
    }
    order { GetOrderResponse, ListOrdersResponse, ListOrderEventsResponse, WatchOrderResponse }
    inventory { ListItemsResponse, CreateItemResponse, AdjustStockResponse }
    payment { GetWalletResponse, GrantPointsResponse, IssueCouponResponse }
    fulfilment { ListWarehousesResponse, ListShipmentsResponse, RecordCarrierEventResponse }
}

/// `answer` as its proto has it, with the fields in their order there; over several lines, or on one.
pub(super) fn of<A: Answer>(answer: &A, lines: Lines) -> Result<String, Failure> {
    let broken = |error: &dyn fmt::Display| Failure::ours("the answer cannot be printed", &error);
    let descriptor = PROTOS.get_message_by_name(A::NAME);
    let descriptor = descriptor.ok_or_else(|| broken(&format!("{} is not in the protos", A::NAME)))?;
    let message = DynamicMessage::decode(descriptor, answer.encode_to_vec().as_slice());
    let message = message.map_err(|error| broken(&error))?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    let mut text = Vec::new();
    let written = match lines {
        Lines::Many => message.serialize_with_options(&mut Serializer::pretty(&mut text), &options),
        Lines::One => message.serialize_with_options(&mut Serializer::new(&mut text), &options),
    };
    written.map_err(|error| broken(&error))?;
    String::from_utf8(text).map_err(|error| broken(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_in_the_protos() {
        for name in NAMES {
            assert!(PROTOS.get_message_by_name(name).is_some(), "{name}");
        }
    }
}
