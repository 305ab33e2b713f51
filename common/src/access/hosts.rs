//! The names under which a server may be asked.
//!
//! A page of the web can make its own name point to an address of this machine, and then its requests count as its own
//! (DNS rebinding). What gives such a request away is the name, which the browser sends. An address cannot be rebound, so
//! every address is allowed, as is `localhost`; every other name has to be listed.

use std::net::IpAddr;

use axum::http::uri::Authority;

/// Returns the host of `authority` in small letters, without port and brackets. `None` for what is no authority.
fn host(authority: &str) -> Option<String> {
    let authority: Authority = authority.parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    Some(host.to_ascii_lowercase())
}

/// Whether a server may be asked as `authority`, which is a host with or without a port.
pub(super) fn is_allowed(authority: &str, names: &[String]) -> bool {
    let Some(host) = host(authority) else { return false };
    host.parse::<IpAddr>().is_ok()
        || host == "localhost"
        || host.ends_with(".localhost")
        || names.iter().any(|name| self::host(name).as_ref() == Some(&host))
}

/// Whether `origin` is the server itself, asked as `authority`.
pub(super) fn is_own(origin: &str, authority: Option<&str>) -> bool {
    let Some((scheme, of)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let parts = |authority: &str| {
        let port = authority.parse::<Authority>().ok()?.port_u16().unwrap_or(default);
        Some((host(authority)?, port))
    };
    let of = parts(of);
    of.is_some() && of == authority.and_then(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_listed_names_are_allowed() {
        let names = ["scheduler".to_owned(), "Firesteel.Example:50050".to_owned()];
        for (authority, allowed) in [
            ("127.0.0.1:50050", true),
            ("10.1.2.3", true),
            ("[::1]:50050", true),
            ("localhost:50050", true),
            ("LocalHost", true),
            ("app.localhost", true),
            ("scheduler:50050", true),
            ("scheduler.", true),
            ("firesteel.example", true),
            ("evil.example", false),
            ("evil.example:50050", false),
            ("scheduler.evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1:1@evil.example", false),
            ("evil.example@localhost", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(authority, &names), allowed, "{authority}");
        }
    }

    #[test]
    fn an_origin_is_the_servers_own_when_host_and_port_are() {
        for (origin, authority, own) in [
            ("http://127.0.0.1:50050", Some("127.0.0.1:50050"), true),
            ("https://scheduler", Some("scheduler:443"), true),
            ("http://scheduler", Some("scheduler:443"), false),
            ("http://127.0.0.1:50051", Some("127.0.0.1:50050"), false),
            ("https://evil.example", Some("127.0.0.1:50050"), false),
            ("null", Some("127.0.0.1:50050"), false),
            ("file://", Some("127.0.0.1:50050"), false),
            ("http://", None, false),
        ] {
            assert_eq!(is_own(origin, authority), own, "{origin} {authority:?}");
        }
    }
}
