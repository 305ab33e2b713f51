//! Who asks, and what they may do.

use std::fmt;
use std::str::FromStr;

use axum::http::Extensions;

use super::Refusal;

/// What a user may do. Each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads: SELECT, reports, the state of the cluster.
    Reader,
    /// Writes, too: INSERT, COPY, CREATE, DROP, CACHE.
    Writer,
    /// Administers: cancels the jobs of others, changes settings of the cluster.
    Admin,
}

impl Role {
    /// Every role, from the least rights to the most.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Admin];

    /// The name of the role in a file of tokens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no [`Role`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role `{0}`; the roles are reader, writer and admin")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let role = Self::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The user's name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}

/// Who sent a request. The gate puts it into the extensions of each request that it lets through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Somebody, at a server that authenticates nobody.
    Open,
    /// A user with a token.
    User(Principal),
    /// A member of the cluster, which holds its secret.
    Member,
}

impl Caller {
    /// The caller that the gate has found.
    ///
    /// # Errors
    /// [`Refusal::NoCredential`] where it has found none, as behind a door that is free.
    pub fn of(extensions: &Extensions) -> Result<&Self, Refusal> {
        extensions.get().ok_or(Refusal::NoCredential)
    }

    /// Checks that the caller may do what takes `role`. A member may do everything: it computes what others read.
    ///
    /// # Errors
    /// [`Refusal::Role`] for a user whose role is too small.
    pub fn needs(&self, role: Role) -> Result<(), Refusal> {
        match self {
            Self::Open | Self::Member => Ok(()),
            Self::User(user) if user.role >= role => Ok(()),
            Self::User(user) => Err(Refusal::Role { name: user.name.clone(), has: user.role, needed: role }),
        }
    }

    /// Checks that the caller belongs to the cluster.
    ///
    /// # Errors
    /// [`Refusal::NotMember`] for a user, of whatever role.
    pub fn member(&self) -> Result<(), Refusal> {
        match self {
            Self::Open | Self::Member => Ok(()),
            Self::User(user) => Err(Refusal::NotMember { name: user.name.clone() }),
        }
    }

    /// The name of the user, where there is one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::User(user) => Some(&user.name),
            Self::Open | Self::Member => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(role: Role) -> Caller {
        Caller::User(Principal { name: "ada".to_owned(), role })
    }

    #[test]
    fn a_role_may_do_what_the_smaller_ones_may() {
        for (at, has) in Role::ALL.into_iter().enumerate() {
            assert_eq!(has.name().parse(), Ok(has));
            for (needed_at, needed) in Role::ALL.into_iter().enumerate() {
                let refused = user(has).needs(needed).err();
                assert_eq!(refused.is_none(), needed_at <= at, "{has} {needed}");
                if let Some(refusal) = refused {
                    let words = refusal.to_string();
                    assert!(words.contains("ada") && words.contains(needed.name()), "{words}");
                }
            }
            assert_eq!(user(has).member(), Err(Refusal::NotMember { name: "ada".to_owned() }));
            assert!(Caller::Open.needs(has).is_ok() && Caller::Member.needs(has).is_ok());
        }
        assert!(Caller::Open.member().is_ok() && Caller::Member.member().is_ok());
        assert!("root".parse::<Role>().is_err());
        assert_eq!(Caller::of(&Extensions::new()), Err(Refusal::NoCredential));
    }
}
