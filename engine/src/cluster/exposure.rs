//! Refuses to listen where other machines reach a port that asks nobody who they are.

use std::net::SocketAddr;

use firesteel_common::access::Access;

use crate::{ConfigField, Error, Result};

/// Checks that `role` may listen on `address`: on this machine alone, with authentication, or where the configuration says
/// `insecure`. An error names `host`, the field that holds the host.
pub(crate) fn check(
    role: &'static str,
    address: SocketAddr,
    host: ConfigField,
    access: &Access,
    insecure: bool,
) -> Result<()> {
    if address.ip().is_loopback() || !access.is_open() {
        return Ok(());
    }
    if insecure {
        tracing::warn!(
            role,
            %address,
            "this port asks nobody who they are: whoever reaches it can do everything; keep it within a trusted network"
        );
        return Ok(());
    }
    Err(Error::Exposed { role, address, host })
}

#[cfg(test)]
mod tests {
    use firesteel_common::access::Secret;

    use super::*;

    #[test]
    fn a_port_for_other_machines_asks_who_is_there() {
        let check = |address: &str, access: &Access, insecure| {
            let field = ConfigField::SchedulerBindHost;
            super::check("the test", address.parse().unwrap(), field, access, insecure)
        };
        let closed = Access::open().with_cluster_secret(Secret::random());
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert!(check(address, &Access::open(), false).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.7:1"] {
            let error = check(address, &Access::open(), false).unwrap_err();
            for field in error.fields() {
                assert!(error.to_string().contains(field.name()), "{error}");
            }
            assert!(error.fields().contains(&ConfigField::AccessInsecure), "{error}");
            assert!(check(address, &Access::open(), true).is_ok(), "{address}");
            assert!(check(address, &closed, false).is_ok(), "{address}");
        }
    }
}
