//! What a process accepts: credentials, names and web origins.

use std::fmt;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use super::gate::{Doors, is_grpc_call, is_grpc_path};
use super::{Caller, Refusal, Secret, Tokens, hosts};
use crate::admission::Admission;

/// What precedes a credential in the user agent, the only header that Ballista's own channels let us set.
pub(crate) const IN_USER_AGENT: &str = "credential/";

/// Who may ask a process, under which names and from which web pages.
#[derive(Clone, Default)]
pub struct Access {
    tokens: Option<Tokens>,
    /// Every one is accepted, so that a secret can be replaced while members with the old one run.
    cluster: Vec<Secret>,
    hosts: Vec<String>,
    any_host: bool,
    origins: Vec<String>,
}

impl Access {
    /// Accepts everybody, by address or as `localhost`.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// Accepts the users of `tokens`.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Accepts members of the cluster by `secret`, beside those that were given before.
    #[must_use]
    pub fn with_cluster_secret(mut self, secret: Secret) -> Self {
        self.cluster.push(secret);
        self
    }

    /// Allows further names of this server, beside addresses and `localhost`. A port does not count.
    #[must_use]
    pub fn with_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Allows every name of this server.
    #[must_use]
    pub fn with_any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// Allows pages of other origins, such as `https://console.example`. `*` allows all.
    #[must_use]
    pub fn with_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins.extend(origins.into_iter().map(Into::into));
        self
    }

    /// The same names and origins, for a port that asks nobody who they are.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        Self { tokens: None, cluster: Vec::new(), ..self.clone() }
    }

    /// Whether nobody is authenticated.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && self.cluster.is_empty()
    }

    /// Whether members of the cluster can be told from users.
    #[must_use]
    pub fn knows_members(&self) -> bool {
        !self.cluster.is_empty()
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// [`Refusal::NoCredential`], [`Refusal::WrongCredential`].
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(Caller::Open);
        }
        self.holder_of(credential(headers).ok_or(Refusal::NoCredential)?)
    }

    /// Who holds a token, which came by another way than a header.
    ///
    /// # Errors
    /// [`Refusal::WrongCredential`].
    pub fn holder_of(&self, token: &str) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(Caller::Open);
        }
        // All are compared, so that the time says nothing about which one is close.
        let member = self.cluster.iter().fold(false, |found, secret| found | secret.is(token));
        let user = self.tokens.as_ref().and_then(|tokens| tokens.find(token));
        match (member, user) {
            (true, _) => Ok(Caller::Member),
            (false, Some(user)) => Ok(Caller::User(user)),
            (false, None) => Err(Refusal::WrongCredential),
        }
    }

    /// Decides whether a request may pass, and notes the caller in its extensions. The credential is taken out of the user
    /// agent, which services and logs may show.
    pub(super) fn admit(&self, parts: &mut Parts, doors: &Doors) -> Result<(), Refusal> {
        let path = parts.uri.path();
        if Doors::is_health(path) {
            return Ok(());
        }
        self.check_host(parts)?;
        self.check_origin(parts)?;
        if is_grpc_path(path) && !is_grpc_call(&parts.headers) {
            return Err(Refusal::ContentType);
        }
        let caller = self.caller(&parts.headers);
        let free = doors.is_free(path);
        hide_credential(&mut parts.headers);
        match caller {
            Ok(caller) => {
                if doors.is_members_only() && !free {
                    caller.member()?;
                }
                parts.extensions.insert(caller);
                Admission::grant(&parts.extensions);
                Ok(())
            }
            Err(_) if free => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    fn check_host(&self, parts: &Parts) -> Result<(), Refusal> {
        if self.any_host {
            return Ok(());
        }
        let named = parts.headers.get_all(HOST).iter().map(HeaderValue::to_str);
        for name in named {
            let name = name.map_err(|_| Refusal::Host(String::new()))?;
            if !hosts::is_allowed(name, &self.hosts) {
                return Err(Refusal::Host(name.to_owned()));
            }
        }
        match parts.uri.authority() {
            Some(name) if !hosts::is_allowed(name.as_str(), &self.hosts) => {
                Err(Refusal::Host(name.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a request from a page of another origin, unless that is listed.
    fn check_origin(&self, parts: &Parts) -> Result<(), Refusal> {
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        let host = authority.or_else(|| parts.headers.get(HOST).and_then(|host| host.to_str().ok()));
        for origin in parts.headers.get_all(ORIGIN) {
            let origin = origin.to_str().map_err(|_| Refusal::Origin(String::new()))?;
            if hosts::is_own(origin, host) {
                continue;
            }
            if !self.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
                return Err(Refusal::Origin(origin.to_owned()));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("tokens", &self.tokens.is_some())
            .field("cluster_secret", &self.knows_members())
            .field("hosts", &self.hosts)
            .field("origins", &self.origins)
            .finish()
    }
}

/// The credential in the headers of a request: a bearer token, or the part of the user agent that stands for one.
fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| {
        let agent = headers.get(USER_AGENT)?.to_str().ok()?;
        agent.split(' ').find_map(|word| word.strip_prefix(IN_USER_AGENT))
    })
}

/// Takes the credential out of the user agent.
fn hide_credential(headers: &mut HeaderMap) {
    let Some(agent) = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) else { return };
    if !agent.contains(IN_USER_AGENT) {
        return;
    }
    let words: Vec<_> = agent.split(' ').filter(|word| !word.starts_with(IN_USER_AGENT)).collect();
    match HeaderValue::from_str(&words.join(" ")) {
        Ok(agent) => headers.insert(USER_AGENT, agent),
        Err(_) => headers.remove(USER_AGENT),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Principal, Role};

    const MEMBER: &str = "the-secret-of-the-cluster";
    const ADA: &str = "the-token-of-ada-0123";

    fn access() -> Access {
        let ada = Principal { name: "ada".to_owned(), role: Role::Writer };
        let secret = |text| Secret::new(text).expect("usable");
        Access::open().with_tokens(Tokens::fixed([(ada, secret(ADA))])).with_cluster_secret(secret(MEMBER))
    }

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn a_credential_is_read_from_either_header() {
        let access = access();
        let ada = Caller::User(Principal { name: "ada".to_owned(), role: Role::Writer });
        for (name, value, expected) in [
            (AUTHORIZATION, format!("Bearer {ADA}"), Ok(ada.clone())),
            (AUTHORIZATION, format!("bearer  {ADA} "), Ok(ada.clone())),
            (AUTHORIZATION, format!("Bearer {MEMBER}"), Ok(Caller::Member)),
            (AUTHORIZATION, format!("Basic {ADA}"), Err(Refusal::NoCredential)),
            (AUTHORIZATION, ADA.to_owned(), Err(Refusal::NoCredential)),
            (AUTHORIZATION, format!("Bearer {ADA}x"), Err(Refusal::WrongCredential)),
            (AUTHORIZATION, "Bearer ".to_owned(), Err(Refusal::WrongCredential)),
            (USER_AGENT, format!("firesteel/0.1.0 credential/{MEMBER} tonic/0.14"), Ok(Caller::Member)),
            (USER_AGENT, format!("firesteel/0.1.0 credential/{ADA}"), Ok(ada)),
            (USER_AGENT, "tonic/0.14".to_owned(), Err(Refusal::NoCredential)),
        ] {
            assert_eq!(access.caller(&headers(name, &value)), expected, "{value}");
        }
        assert_eq!(access.caller(&HeaderMap::new()), Err(Refusal::NoCredential));
        assert_eq!(Access::open().caller(&HeaderMap::new()), Ok(Caller::Open));
        let shown = format!("{access:?}");
        assert!(!shown.contains(ADA) && !shown.contains(MEMBER), "{shown}");
    }

    #[test]
    fn a_secret_can_be_replaced_while_the_old_one_is_in_use() {
        let access =
            access().with_cluster_secret(Secret::new("the-next-secret-of-the-cluster").expect("usable"));
        assert_eq!(access.holder_of(MEMBER), Ok(Caller::Member));
        assert_eq!(access.holder_of("the-next-secret-of-the-cluster"), Ok(Caller::Member));
    }

    #[test]
    fn a_credential_does_not_stay_in_the_user_agent() {
        let mut headers = headers(USER_AGENT, &format!("firesteel/0.1.0 credential/{MEMBER} tonic/0.14"));
        hide_credential(&mut headers);
        assert_eq!(headers.get(USER_AGENT).expect("kept"), "firesteel/0.1.0 tonic/0.14");
    }
}
