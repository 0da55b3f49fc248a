//! Free loopback ports, for processes that must come back on the same ones after a kill.

use std::{io, net::TcpListener};

/// `N` ports that nobody listens on at this moment. They are bound all at once, so that they differ.
///
/// # Errors
/// When the system has no ports left.
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    let listeners: Vec<_> = (0..N).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
