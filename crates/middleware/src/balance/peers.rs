//! Where a target is: addresses, or names that a task looks up again and again.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use tokio::{
    net::lookup_host,
    time::{sleep, timeout},
};

use super::{Link, Set};

/// How old what is known of a name may become: a new replica gets calls so much later, give or take a tenth.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);

/// The pause after a lookup that failed while nothing is known of the name yet.
const LOOKUP_AGAIN: Duration = Duration::from_millis(250);

/// A lookup that takes longer has failed; resolvers of systems would go on for half a minute.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The port of an address that names none.
const PORT: u16 = 80;

/// Where the servers of one target are: `http://host:port`, or several of them with commas between. A host is an IP
/// address, or a name, which may stand for several servers (a headless Service of Kubernetes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers(Vec<Peer>);

/// Text that says nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a gRPC server (http://host:port, or several with commas between)")]
pub struct BadPeers {
    text: String,
}

/// The address of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    socket: SocketAddr,
    /// How it is called in requests.
    authority: Authority,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    authority: Authority,
    port: u16,
}

// === impl Peers ===

impl Peers {
    /// The addresses that need no lookup.
    pub(crate) fn known(&self) -> Vec<Address> {
        unique(self.0.iter().filter_map(Peer::known))
    }

    /// Whether there are names among them.
    pub(crate) fn need_lookup(&self) -> bool {
        self.0.iter().any(|peer| peer.known().is_none())
    }
}

impl FromStr for Peers {
    type Err = BadPeers;

    fn from_str(text: &str) -> Result<Self, BadPeers> {
        let peers = text.split(',').map(|one| Peer::parse(one.trim()).ok_or_else(|| BadPeers { text: one.into() }));
        Ok(Self(peers.collect::<Result<_, _>>()?))
    }
}

// === impl Peer ===

impl Peer {
    fn parse(text: &str) -> Option<Self> {
        let parts = text.parse::<Uri>().ok()?.into_parts();
        let nothing_else = parts.path_and_query.is_none_or(|path| path.as_str() == "/");
        let authority = parts.authority.filter(|authority| !authority.host().is_empty())?;
        let is_http = parts.scheme.is_some_and(|scheme| scheme == Scheme::HTTP);
        let port = authority.port_u16().unwrap_or(PORT);
        (is_http && nothing_else).then_some(Self { authority, port })
    }

    fn known(&self) -> Option<Address> {
        let ip = self.host().parse().ok()?;
        Some(self.address(SocketAddr::new(ip, self.port)))
    }

    fn address(&self, socket: SocketAddr) -> Address {
        Address { socket, authority: self.authority.clone() }
    }

    fn host(&self) -> &str {
        // An IPv6 address stands in brackets in a URI, and nowhere else.
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    async fn look_up(&self) -> Option<Vec<Address>> {
        let found = timeout(LOOKUP_TIMEOUT, lookup_host((self.host(), self.port))).await;
        match found {
            Ok(Ok(sockets)) => Some(sockets.map(|socket| self.address(socket)).collect()),
            Ok(Err(cause)) => {
                tracing::warn!(name = self.host(), %cause, "a lookup failed; what was known of the name stands");
                None
            }
            Err(_) => {
                tracing::warn!(name = self.host(), "a lookup took too long; what was known of the name stands");
                None
            }
        }
    }
}

// === impl Address ===

impl Address {
    #[cfg(test)]
    pub(crate) fn of(socket: SocketAddr) -> Self {
        let authority = socket.to_string().parse().unwrap();
        Self { socket, authority }
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// The address of a method there, of which `uri` says the path.
    pub(crate) fn at(&self, uri: &Uri) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = uri.path_and_query().cloned().or_else(|| Some(PathAndQuery::from_static("/")));
        // With all three parts there it is always whole.
        Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.socket)
    }
}

/// Keeps the endpoints of `set` what the names among `peers` stand for, for ever.
pub(crate) async fn keep_resolved(peers: Peers, set: Arc<Set<Link>>) {
    let mut known: BTreeMap<usize, Vec<Address>> = BTreeMap::new();
    loop {
        for (index, peer) in peers.0.iter().enumerate() {
            let found = match peer.known() {
                Some(address) => Some(vec![address]),
                None => peer.look_up().await,
            };
            // A name that stands for nobody is a resolver's mistake more often than the truth: its last word stands.
            if let Some(addresses) = found.filter(|addresses| !addresses.is_empty()) {
                known.insert(index, addresses);
            }
        }
        let now = unique(known.values().flatten().cloned());
        set.replace(&now, |address| Link::new(address.clone(), set.changed()));
        let pause = if known.len() == peers.0.len() { LOOKUP_INTERVAL } else { LOOKUP_AGAIN };
        sleep(pause * rand::random_range(90..=110) / 100).await;
    }
}

fn unique(addresses: impl Iterator<Item = Address>) -> Vec<Address> {
    let mut unique: Vec<Address> = Vec::new();
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_addresses_needs_no_lookup() {
        let peers: Peers = "http://127.0.0.1:50051, http://[::1]:50052/,http://127.0.0.1:50051".parse().unwrap();
        let sockets: Vec<_> = peers.known().iter().map(ToString::to_string).collect();
        assert_eq!(sockets, ["127.0.0.1:50051", "[::1]:50052"], "each once");
        assert!(!peers.need_lookup());
        assert!("http://127.0.0.1:1,http://inventory.spillway:2".parse::<Peers>().unwrap().need_lookup());
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in
            ["", "127.0.0.1:50051", "https://shop:1", "http://shop:1/path", "http://:1", "http://a:1,,http://b:2"]
        {
            let error = text.parse::<Peers>().expect_err(text);
            assert!(error.to_string().contains("not the address of a gRPC server"), "{error}");
        }
    }

    #[test]
    fn a_request_names_the_server_as_its_address_does() {
        let peers: Peers = "http://127.0.0.1:50051".parse().unwrap();
        let uri = peers.known()[0].at(&Uri::from_static("/shop.v1.Shop/Read"));
        assert_eq!(uri, "http://127.0.0.1:50051/shop.v1.Shop/Read");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_keeps_what_it_stood_for() {
        let peer = Peer::parse("http://localhost:50051").unwrap();
        assert!(!peer.look_up().await.unwrap().is_empty());
        assert_eq!(Peer::parse("http://no-such-name.invalid:1").unwrap().look_up().await, None);
    }
}
