//! Sessions: views, settings and operations of one program. Each belongs to the user who opened it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ballista_core::ids::new_instance_id;
use datafusion::execution::FunctionRegistry as _;
use firesteel_common::access::Caller;
use tonic::Status;

use super::error::{Kind, Result, SparkError};
use super::operation::Operation;
use super::planner::SparkOperators;
use super::settings::Settings;
use crate::Session;

/// The most sessions that are kept.
const MOST: usize = 256;

/// How long a session is kept without use.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// The most operations of a session whose answers are kept.
const MOST_OPERATIONS: usize = 64;

/// The longest id of a session or an operation, in bytes; that of Spark's clients is a UUID.
const LONGEST_ID: usize = 128;

/// How many errors of a session can be asked for.
const ERRORS: usize = 32;

/// A session of a client.
#[derive(Debug)]
pub(super) struct ClientSession {
    pub(super) id: String,
    /// The server's own name for it: a client notices that another session has taken its place.
    pub(super) server_id: String,
    pub(super) engine: Session,
    settings: Mutex<Settings>,
    operations: Mutex<HashMap<String, Arc<Operation>>>,
    errors: Mutex<VecDeque<(String, SparkError)>>,
    used: Mutex<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientSession {
    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    /// The time zone in which it sees points in time.
    pub(super) fn zone(&self) -> String {
        self.settings().time_zone().to_owned()
    }

    /// What a client is told of an error; it can ask for the rest.
    pub(super) fn failed(&self, error: SparkError) -> Status {
        tracing::debug!(session = %self.id, %error, "an operation failed");
        let id = new_instance_id();
        let status = error.to_status(&id);
        let mut errors = lock(&self.errors);
        if errors.len() == ERRORS {
            errors.pop_front();
        }
        errors.push_back((id, error));
        status
    }

    /// An error of this session by the id that its client has.
    pub(super) fn error(&self, id: &str) -> Option<SparkError> {
        let errors = lock(&self.errors);
        errors.iter().find(|(known, _)| known == id).map(|(_, error)| error.clone())
    }

    /// Whether somebody receives an answer, however long it takes.
    fn is_watched(&self) -> bool {
        lock(&self.operations).values().any(|operation| operation.is_watched())
    }

    /// Begins an operation.
    ///
    /// # Errors
    /// An id that is too long or taken, and too many operations.
    pub(super) fn begin(&self, id: &str, tags: Vec<String>, reattachable: bool) -> Result<Arc<Operation>> {
        if id.len() > LONGEST_ID {
            let message = "The handle is invalid. An operation has a UUID.";
            return Err(SparkError::handle("INVALID_HANDLE.FORMAT", message));
        }
        let id = if id.is_empty() { new_instance_id() } else { id.to_owned() };
        let mut operations = lock(&self.operations);
        if operations.contains_key(&id) {
            let message = format!("The operation {id} exists already.");
            return Err(SparkError::handle("INVALID_HANDLE.OPERATION_ALREADY_EXISTS", message));
        }
        if operations.len() >= MOST_OPERATIONS {
            let message =
                format!("The session has {MOST_OPERATIONS} operations whose answers nobody has received.");
            return Err(SparkError::handle("TOO_MANY_OPERATIONS", message));
        }
        let operation = Operation::new(id.clone(), tags, reattachable);
        operations.insert(id, Arc::clone(&operation));
        Ok(operation)
    }

    /// An operation that has been begun and whose answer is not released.
    pub(super) fn operation(&self, id: &str) -> Result<Arc<Operation>> {
        lock(&self.operations).get(id).cloned().ok_or_else(|| {
            let message = format!("The handle {id} is invalid. Operation not found.");
            SparkError::handle("INVALID_HANDLE.OPERATION_NOT_FOUND", message)
        })
    }

    /// Forgets an operation and ends it.
    pub(super) fn forget(&self, id: &str) {
        if let Some(operation) = lock(&self.operations).remove(id) {
            operation.cancel.cancel();
        }
    }

    /// Ends the operations that are meant and still run, and returns their ids.
    pub(super) fn interrupt(&self, is_meant: impl Fn(&Operation) -> bool) -> Vec<String> {
        let operations = lock(&self.operations);
        let meant = operations.values().filter(|operation| operation.is_running() && is_meant(operation));
        meant
            .map(|operation| {
                operation.cancel.cancel();
                operation.id.clone()
            })
            .collect()
    }
}

/// The sessions of a server.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The session whose engine all others share.
    engine: Session,
    by_key: Mutex<HashMap<(String, String), Arc<ClientSession>>>,
}

impl Sessions {
    pub(super) fn new(engine: Session) -> Self {
        Self { engine, by_key: Mutex::default() }
    }

    /// The session of a caller, which is opened if it is not there.
    ///
    /// # Errors
    /// Too many sessions, and one that the server has replaced since the client saw it.
    pub(super) fn of(&self, caller: &Caller, id: &str, observed: Option<&str>) -> Result<Arc<ClientSession>> {
        if id.is_empty() || id.len() > LONGEST_ID {
            let message = format!("The handle {id:?} is invalid. A session has a UUID.");
            return Err(SparkError::handle("INVALID_HANDLE.FORMAT", message));
        }
        let key = (caller.user().unwrap_or_default().to_owned(), id.to_owned());
        let mut ended = Vec::new();
        let mut sessions = lock(&self.by_key);
        sessions.retain(|_, session| {
            let keep = lock(&session.used).elapsed() < IDLE || session.is_watched();
            if !keep {
                session.interrupt(|_| true);
                ended.push(Arc::clone(session));
            }
            keep
        });
        end(ended);
        if let Some(session) = sessions.get(&key) {
            *lock(&session.used) = Instant::now();
            if observed.is_some_and(|observed| !observed.is_empty() && observed != session.server_id) {
                return Err(changed(id));
            }
            return Ok(Arc::clone(session));
        }
        if observed.is_some_and(|observed| !observed.is_empty()) {
            return Err(changed(id));
        }
        if sessions.len() >= MOST
            && let Some(oldest) = longest_unused(&sessions)
            && let Some(session) = sessions.remove(&oldest)
        {
            session.interrupt(|_| true);
            end(vec![session]);
        }
        if sessions.len() >= MOST {
            let message = format!("The server has {MOST} sessions that receive answers, which are the most.");
            return Err(SparkError::new(Kind::Runtime, "TOO_MANY_SESSIONS", "HY000", message));
        }
        let session = Arc::new(self.open(id, Settings::default())?);
        sessions.insert(key, Arc::clone(&session));
        Ok(session)
    }

    fn open(&self, id: &str, settings: Settings) -> Result<ClientSession> {
        let engine = self.engine.beside()?;
        {
            let state = engine.context().state_ref();
            let mut state = state.write();
            state.config_mut().options_mut().sql_parser.dialect = datafusion::common::config::Dialect::Spark;
            state.register_expr_planner(Arc::new(SparkOperators))?;
        }
        Ok(ClientSession {
            id: id.to_owned(),
            server_id: new_instance_id(),
            engine,
            settings: Mutex::new(settings),
            operations: Mutex::default(),
            errors: Mutex::default(),
            used: Mutex::new(Instant::now()),
        })
    }

    /// Ends a session with all its operations.
    pub(super) fn release(&self, caller: &Caller, id: &str) -> Option<Arc<ClientSession>> {
        let key = (caller.user().unwrap_or_default().to_owned(), id.to_owned());
        let session = lock(&self.by_key).remove(&key)?;
        session.interrupt(|_| true);
        Some(session)
    }

    /// Ends all operations, so that their answers end.
    pub(super) fn interrupt(&self) {
        for session in lock(&self.by_key).values() {
            session.interrupt(|_| true);
        }
    }

    /// Ends all operations and sessions, and the engine.
    pub(super) async fn shutdown(&self) {
        let sessions: Vec<_> = lock(&self.by_key).drain().map(|(_, session)| session).collect();
        for session in sessions {
            session.interrupt(|_| true);
            session.engine.shutdown().await;
        }
        self.engine.shutdown().await;
    }
}

/// The session that was not used for longest, of those whose answers nobody receives: it makes room for another.
fn longest_unused(sessions: &HashMap<(String, String), Arc<ClientSession>>) -> Option<(String, String)> {
    let unused = sessions.iter().filter(|(_, session)| !session.is_watched());
    unused.min_by_key(|(_, session)| *lock(&session.used)).map(|(key, _)| key.clone())
}

/// Lets go of what sessions keep outside of this process, such as cached tables.
pub(super) fn end(sessions: Vec<Arc<ClientSession>>) {
    if !sessions.is_empty() {
        tokio::spawn(async move {
            for session in sessions {
                session.engine.shutdown().await;
            }
        });
    }
}

fn changed(id: &str) -> SparkError {
    let message =
        format!("The handle {id} is invalid. The existing Spark server driver instance has restarted.");
    SparkError::handle("INVALID_HANDLE.SESSION_CHANGED", message)
}
