//! Endpoints that are made once for each server, so that connections resume the session of TLS before them.
//!
//! Ballista opens connections of its own for every query: to the scheduler, and to each executor with a part of the result.
//! The sessions that a server lets a client resume are kept with the client's side of TLS, which belongs to an endpoint. A new
//! endpoint each time means certificates and signatures each time, about a millisecond of both processors.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use axum::http::Uri;
use tonic::transport::Endpoint;

use super::{DialError, Dialer};
use crate::tls::Authorities;

/// The most endpoints that are kept. Executors that come and go have ever new addresses.
const MOST: usize = 1_024;

/// Makes the endpoints of a dialer, with the same settings each.
pub struct Endpoints {
    dialer: Dialer,
    settings: fn(Endpoint) -> Endpoint,
    made: Mutex<HashMap<Uri, Made>>,
}

/// An endpoint, and whom its sessions were opened with trust in.
struct Made {
    endpoint: Endpoint,
    trusted: Authorities,
}

impl Endpoints {
    /// Endpoints of `dialer`; `settings` sets their timeouts and windows.
    #[must_use]
    pub fn new(dialer: Dialer, settings: fn(Endpoint) -> Endpoint) -> Self {
        Self { dialer, settings, made: Mutex::default() }
    }

    /// The endpoint to use in the place of one that somebody else has made. Its address is all that is taken from that one.
    ///
    /// # Errors
    /// [`DialError`].
    pub fn instead_of(&self, endpoint: Endpoint) -> Result<Endpoint, DialError> {
        let Some(trusted) = self.dialer.authorities() else {
            return self.dialer.prepare(endpoint, self.settings);
        };
        let uri = endpoint.uri().clone();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = made.get(&uri)
            // A session that was opened under other authorities would not ask the current ones.
            && kept.trusted == trusted
        {
            return Ok(kept.endpoint.clone());
        }
        let endpoint = self.dialer.prepare(endpoint, self.settings)?;
        if made.len() >= MOST {
            made.clear();
        }
        made.insert(uri, Made { endpoint: endpoint.clone(), trusted });
        Ok(endpoint)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("dialer", &self.dialer).finish_non_exhaustive()
    }
}
