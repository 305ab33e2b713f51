//! Ports of the loopback that are free and stay ours: below the range from which the system takes those of connections, so that no
//! connection is in the way when a killed server comes back.

use anyhow::bail;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// From where to where they are looked for.
const RANGE: std::ops::Range<u16> = 20_000..31_000;

/// Gives out ports, each once.
#[derive(Debug)]
pub(crate) struct Ports {
    next: u16,
}

impl Ports {
    /// Begins at a random place, so that two harnesses rarely meet.
    pub(crate) fn new() -> Self {
        Self { next: rand::random_range(RANGE.start..RANGE.end - 1_000) }
    }

    /// The next one at which nobody listens.
    pub(crate) fn free(&mut self) -> anyhow::Result<SocketAddr> {
        while self.next < RANGE.end {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
            self.next += 1;
            if TcpListener::bind(address).is_ok() {
                return Ok(address);
            }
        }
        bail!("no port below {} is free", RANGE.end)
    }
}
