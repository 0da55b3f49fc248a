//! What the protos promise of each method, read from the descriptors: the middleware retries by it, and tests hold every
//! method to having said it.

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodOptions, method_options::IdempotencyLevel};

use crate::FILE_DESCRIPTOR_SET;

/// What calling a method twice does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Nobody knows.
    Unknown,
    /// Nothing, as calling it once does nothing: it only reads.
    NoSideEffects,
    /// No more than calling it once.
    Idempotent,
}

/// A method of one of our services.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Method {
    /// As in the HTTP/2 request: `/package.Service/Method`.
    pub path: String,
    /// What calling it twice does.
    pub idempotency: Idempotency,
    /// It answers with a stream.
    pub server_streaming: bool,
}

/// Every method of every service in `proto/`. Decodes the descriptors: call it once and keep what you need.
///
/// # Panics
/// Never: the descriptors are written by this crate's build script, and a test decodes them.
pub fn methods() -> impl Iterator<Item = Method> {
    #[expect(clippy::expect_used, reason = "the bytes are compiled in, and a test decodes them")]
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("compiled-in descriptors decode");
    set.file.into_iter().flat_map(methods_of)
}

/// The full names of our services, such as `spillway.order.v1.OrderService`.
pub fn services() -> impl Iterator<Item = String> {
    let mut names: Vec<_> = methods().filter_map(|method| Some(method.path.split('/').nth(1)?.to_owned())).collect();
    names.dedup();
    names.into_iter()
}

fn methods_of(file: FileDescriptorProto) -> impl Iterator<Item = Method> {
    let package = file.package().to_owned();
    file.service.into_iter().flat_map(move |service| {
        let prefix = format!("/{package}.{}", service.name());
        service.method.into_iter().map(move |method| Method {
            path: format!("{prefix}/{}", method.name()),
            idempotency: method.options.as_ref().map_or(Idempotency::Unknown, Idempotency::of),
            server_streaming: method.server_streaming(),
        })
    })
}

// === impl Idempotency ===

impl Idempotency {
    fn of(options: &MethodOptions) -> Self {
        match options.idempotency_level() {
            IdempotencyLevel::IdempotencyUnknown => Self::Unknown,
            IdempotencyLevel::NoSideEffects => Self::NoSideEffects,
            IdempotencyLevel::Idempotent => Self::Idempotent,
        }
    }

    /// Calling again after an unknown outcome does no harm.
    pub const fn is_safe_to_repeat(self) -> bool {
        matches!(self, Self::NoSideEffects | Self::Idempotent)
    }
}

#[cfg(test)]
mod tests;
