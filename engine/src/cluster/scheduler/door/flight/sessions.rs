//! The sessions of Arrow Flight SQL: one for each user, or for each connection where nobody is authenticated.
//!
//! What one client defines, drops or sets, no other sees. There is no session that several share, and their number is
//! bounded: those of connections that are closed make room for the next, then the one that was not used for longest. One that is
//! idle for half an hour goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use firesteel_common::http::Connection;

/// The most sessions at a time. Each holds the functions, settings and tables of its client.
const MOST: usize = 256;

/// How long a session may be idle.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A user's, over all connections.
    User(String),
    /// The cluster's own.
    Member,
    /// That of a handshake, by the token that it gave out.
    Handshake(String),
    /// That of a connection.
    Connection(Connection),
}

impl Key {
    /// Whether nobody can come with this key again.
    fn is_over(&self) -> bool {
        matches!(self, Self::Connection(connection) if connection.is_over())
    }
}

/// Sessions by their keys.
#[derive(Debug)]
pub(super) struct Sessions<S>(Mutex<Live<S>>);

#[derive(Debug)]
struct Live<S> {
    by_key: HashMap<Key, Entry<S>>,
    swept: Instant,
}

#[derive(Debug)]
struct Entry<S> {
    session: Arc<S>,
    used: Instant,
}

impl<S> Default for Sessions<S> {
    fn default() -> Self {
        Self(Mutex::new(Live { by_key: HashMap::new(), swept: Instant::now() }))
    }
}

impl<S> Sessions<S> {
    /// Returns the session of `key`, if there is one.
    pub(super) fn find(&self, key: &Key) -> Option<Arc<S>> {
        self.with(|live, now| {
            let entry = live.by_key.get_mut(key)?;
            entry.used = now;
            Some(Arc::clone(&entry.session))
        })
    }

    /// Returns the session of `key`, made by `make` if there is none.
    pub(super) fn open(&self, key: Key, make: impl FnOnce() -> S) -> Arc<S> {
        self.with(|live, now| {
            if !live.by_key.contains_key(&key) && live.by_key.len() >= MOST {
                live.by_key.retain(|key, _| !key.is_over());
            }
            if !live.by_key.contains_key(&key) && live.by_key.len() >= MOST {
                let oldest = live.by_key.iter().min_by_key(|(_, entry)| entry.used);
                if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                    live.by_key.remove(&oldest);
                }
            }
            let entry =
                live.by_key.entry(key).or_insert_with(|| Entry { session: Arc::new(make()), used: now });
            entry.used = now;
            Arc::clone(&entry.session)
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Live<S>, Instant) -> T) -> T {
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(live.swept) >= SWEEP {
            live.by_key.retain(|key, entry| now.duration_since(entry.used) < IDLE && !key.is_over());
            live.swept = now;
        }
        change(&mut live, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::User(number.to_string())
    }

    #[test]
    fn the_session_that_was_not_used_for_longest_makes_room() {
        let sessions = Sessions::default();
        for number in 0..MOST {
            sessions.open(key(number), || number);
        }
        // Used again, so it is not the oldest any more.
        assert_eq!(sessions.find(&key(0)).as_deref(), Some(&0));
        assert_eq!(*sessions.open(key(MOST), || MOST), MOST);
        assert_eq!(sessions.find(&key(1)), None);
        assert_eq!(*sessions.open(key(0), || 7), 0, "the session of a key stays");
        assert_eq!(sessions.0.lock().unwrap().by_key.len(), MOST);
    }

    #[test]
    fn sessions_of_closed_connections_make_room_first() {
        let sessions = Sessions::default();
        sessions.open(key(0), || 0);
        let open = Connection::next();
        sessions.open(Key::Connection(open.clone()), || 1);
        for number in 2..MOST {
            sessions.open(Key::Connection(Connection::next()), || number);
        }
        sessions.open(key(MOST), || MOST);
        assert_eq!(sessions.find(&key(0)).as_deref(), Some(&0), "the oldest stays");
        assert_eq!(sessions.find(&Key::Connection(open)).as_deref(), Some(&1));
        assert_eq!(sessions.0.lock().unwrap().by_key.len(), 3);
    }

    #[test]
    fn a_session_that_is_idle_goes() {
        let sessions = Sessions::default();
        let connection = Key::Connection(Connection::next());
        sessions.open(connection.clone(), || 1);
        sessions.open(key(2), || 2);
        {
            let mut live = sessions.0.lock().unwrap();
            live.swept -= SWEEP;
            live.by_key.get_mut(&connection).unwrap().used -= IDLE;
        }
        assert_eq!(sessions.find(&connection), None);
        assert_eq!(sessions.find(&key(2)).as_deref(), Some(&2));
    }
}
