//! What a process of this machine is seen from outside by: the ports that it listens on, and the memory that it has.
//!
//! Both come from `/proc`, so both are there on Linux alone.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a socket that listens, as `/proc/net/tcp` writes it.
const LISTENS: &str = "0A";

/// The addresses at which a process takes connections of TCP, by the sockets that it has open.
///
/// # Panics
/// When the process is gone, or is somebody else's.
#[must_use]
pub fn listening(process: u32) -> Vec<SocketAddr> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).expect("a process of ours");
    let sockets: HashSet<String> = open
        .flatten()
        .filter_map(|file| {
            let target = fs::read_link(file.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(3) == Some(&LISTENS) && sockets.contains(*fields.get(9)?);
            listens.then(|| address(fields[1])).flatten()
        }));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// An address as the kernel prints it: words of four bytes in the machine's order, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..host.len() / 8)
        .map(|word| Some(u32::from_str_radix(host.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let host = match words?.concat().as_slice() {
        bytes if bytes.len() == 4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(SocketAddr::new(host, port))
}

/// Where somebody on this machine reaches a listener: one at every address is reached by the loopback.
#[must_use]
pub fn reached(listener: SocketAddr) -> SocketAddr {
    let host = match listener.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, listener.port())
}

/// The memory that a process has, in bytes; `None` once it has ended.
#[must_use]
pub fn resident_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn this_process_listens_where_it_says() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let everywhere = TcpListener::bind("0.0.0.0:0").expect("a port");
        let found = listening(std::process::id());
        for listener in [&listener, &everywhere] {
            assert!(found.contains(&listener.local_addr().expect("bound")), "{found:?}");
        }
        let port = everywhere.local_addr().expect("bound").port();
        assert_eq!(
            reached(everywhere.local_addr().expect("bound")),
            SocketAddr::from(([127, 0, 0, 1], port))
        );
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
