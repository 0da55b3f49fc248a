//! What a method is, by its gRPC path: the deadline, retry, bulkhead and attempt rungs ask here and nowhere else.

use std::{collections::HashMap, sync::Arc};

/// What kind of work a method is, which decides its default deadline and its bulkhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Answers from what is there.
    Read,
    /// Changes something.
    Write,
    /// Goes on until the caller has seen enough: no default deadline, no cap.
    Stream,
}

/// What is known of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What kind of work it is.
    pub kind: Kind,
    /// Calling it again after an unknown outcome does no harm.
    pub idempotent: bool,
}

/// The policies of a set of methods. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policies(Arc<HashMap<String, Policy>>);

/// Methods that every server has. Health answers are reads: a check that hangs is a check that failed.
const COMMON: [(&str, Policy); 4] = [
    ("/grpc.health.v1.Health/Check", Policy::read()),
    ("/grpc.health.v1.Health/Watch", Policy::stream()),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Policy::stream()),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Policy::stream()),
];

// === impl Policy ===

impl Policy {
    /// A unary method that changes nothing.
    pub const fn read() -> Self {
        Self { kind: Kind::Read, idempotent: true }
    }

    /// A unary method that changes something; `idempotent` when the proto says so.
    pub const fn write(idempotent: bool) -> Self {
        Self { kind: Kind::Write, idempotent }
    }

    /// A method with a stream on either side. Never tried again: the caller resumes it.
    pub const fn stream() -> Self {
        Self { kind: Kind::Stream, idempotent: false }
    }
}

// === impl Policies ===

impl Policies {
    /// Policies by full path (`/package.Service/Method`). Health and reflection are known without being named.
    pub fn new<P: Into<String>>(methods: impl IntoIterator<Item = (P, Policy)>) -> Self {
        let common = COMMON.into_iter().map(|(path, policy)| (path.to_owned(), policy));
        Self(Arc::new(common.chain(methods.into_iter().map(|(path, policy)| (path.into(), policy))).collect()))
    }

    /// The policy of the method at `path`. A method that nobody described is taken for a write that must not be
    /// repeated.
    pub fn of(&self, path: &str) -> Policy {
        self.0.get(path).copied().unwrap_or(const { Policy::write(false) })
    }

    /// Every path that has a policy.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_described_is_not_repeated() {
        let policies = Policies::new([("/shop.v1.Shop/Get", Policy::read())]);
        assert_eq!(policies.of("/shop.v1.Shop/Get"), Policy::read());
        assert_eq!(policies.of("/shop.v1.Shop/Buy"), Policy::write(false));
        assert_eq!(policies.of("/grpc.health.v1.Health/Watch").kind, Kind::Stream);
    }
}
