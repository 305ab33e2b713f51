//! Who is asking: the one authentication of every door.
//!
//! ```text
//!  request ─▶ gate: host, origin, content type ─▶ credential ─▶ Caller in the request's extensions ─▶ service
//!                         │                          │                                                  │
//!                        421, 403, 415              401 / UNAUTHENTICATED             403 / PERMISSION_DENIED
//! ```
//!
//! [`Access`] holds what a process accepts: the tokens of users, the secret that the members of a cluster share, and the
//! names and web origins under which it may be asked. The [`gate()`] in front of a router turns everything else away and
//! puts the [`Caller`] into the extensions of what it lets through. What a caller may do is the service's to decide, with
//! [`Caller::needs`] and [`Caller::member`].
//!
//! Without tokens and without a secret everybody is [`Caller::Open`] and may do everything; the checks of host, origin and
//! content type hold nevertheless, so that no web page gets in.
//!
//! A credential is compared in constant time, and neither it nor a part of it is ever printed.

mod caller;
mod gate;
mod hosts;
mod refusal;
mod secret;
mod settings;
mod tokens;

pub use caller::{Caller, Principal, Role, UnknownRole};
pub(crate) use gate::is_grpc_call;
pub use gate::{Doors, Gate, Gated, gate};
pub use refusal::Refusal;
pub use secret::{InvalidSecret, Secret};
pub use settings::Access;
pub(crate) use settings::IN_USER_AGENT;
pub use tokens::{Tokens, TokensError};
