//! Free loopback ports, for processes that must come back on the same ones after a kill.

use std::{io, net::TcpListener};

use rand::Rng;

/// Below the ports that systems lend to outgoing connections, one of which would sit on a killed process's port sooner or
/// later; and below those of the test servers.
const FIRST: u16 = 10_000;
/// Ports to choose from.
const COUNT: u16 = 9_984;
/// Ports are taken by blocks, so that two runs at a time take different ones, or all the same and notice.
const BLOCK: u16 = 32;
/// Blocks looked at; a machine on which this many are taken has other worries.
const LOOKS: u16 = 100;

/// `N` ports that nobody listens on at this moment.
///
/// # Errors
/// When the system has none left.
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    some(N)?.try_into().map_err(|_| io::ErrorKind::AddrInUse.into())
}

/// `count` ports that nobody listens on at this moment.
///
/// # Errors
/// When the system has none left.
pub fn some(count: usize) -> io::Result<Vec<u16>> {
    (0..LOOKS).find_map(|_| block(count)).ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

fn block(count: usize) -> Option<Vec<u16>> {
    let blocks = u16::try_from(count).ok()?.div_ceil(BLOCK);
    let first = FIRST + BLOCK * rand::rng().random_range(0..=(COUNT / BLOCK).checked_sub(blocks)?);
    let ports: Vec<_> = (first..).take(count).collect();
    let listeners: io::Result<Vec<_>> = ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port))).collect();
    listeners.ok().map(|_| ports)
}
