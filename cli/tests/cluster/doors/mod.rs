//! What an attacker, or a user with too few rights, gets at each door: nothing, and a reason.

mod browser;
mod encrypted;
mod exposed;
mod jobs;
mod roles;
mod sessions;
pub(crate) mod support;
mod tickets;
