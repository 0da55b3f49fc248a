//! Answers as JSON: protobuf's own mapping, with the names of the protos, so that the comments there document this form
//! too. Numbers of 64 bits are numbers, and fields that hold nothing are there as well.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use spillway_contracts::FILE_DESCRIPTOR_SET;

use super::Failure;

/// What messages look like.
static PROTOS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the build wrote the set, and a test reads it")]
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("a valid descriptor set")
});

/// `message`, which is a `name` (below the package `spillway`) of our protos.
pub(super) fn of<M: Message>(name: &str, message: &M) -> Result<Value, Failure> {
    let broken = "the answer cannot be printed";
    let descriptor = PROTOS.get_message_by_name(&format!("spillway.{name}"));
    let descriptor = descriptor.ok_or_else(|| Failure::ours(broken, &format!("{name} is not in the protos")))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    let message = message.map_err(|error| Failure::ours(broken, &error))?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    let value = message.serialize_with_options(serde_json::value::Serializer, &options);
    value.map_err(|error| Failure::ours(broken, &error))
}
