//! One session of Arrow Flight SQL: Ballista's service with a catalog, settings, prepared statements and results of its
//! own, and limits on how many of them it keeps.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_flight::FlightInfo;
use arrow_flight::Ticket;
use arrow_flight::sql::server::FlightSqlService as _;
use arrow_flight::sql::{Any, TicketStatementQuery};
use async_trait::async_trait;
use ballista_core::error::Result as BallistaResult;
use ballista_core::flight_proxy_service::BallistaFlightProxyService;
use ballista_core::ids::new_instance_id;
use ballista_flight_sql::BallistaFlightSqlService;
use ballista_flight_sql::backend::{QueryBackend, QueryResult};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use firesteel_common::access::{Caller, Role};
use prost::Message as _;
use tokio::sync::OnceCell;
use tonic::{Request, Status};

use crate::Error;
use crate::cluster::scheduler::door::owners::Owners;
use crate::cluster::scheduler::door::{Door, plan};
use crate::limits::check_sql_and;
use crate::plan::guard;
use crate::plan::settings::check_statement;

/// The most prepared statements of a session.
const MOST_PREPARED: usize = 256;

/// How long Ballista keeps a prepared statement that is not used.
const PREPARED_IDLE: Duration = Duration::from_secs(30 * 60);

/// The most results of a session that were computed here, such as those of SHOW, and not fetched.
const MOST_RESULTS: usize = 32;

/// What the handle of a result begins with: one that executors hold, and one that was computed here.
pub(super) const ON_EXECUTORS: u8 = 0;
pub(super) const COMPUTED_HERE: u8 = 1;

/// A session.
pub(super) struct Session {
    pub(super) service: BallistaFlightSqlService<Backend>,
    pub(super) backend: Arc<Backend>,
    /// The prepared statements.
    prepared: Mutex<HashMap<Vec<u8>, Prepared>>,
    /// The handles of results that were computed here and not fetched, the oldest first.
    results: Mutex<VecDeque<Vec<u8>>>,
}

/// What is known of a prepared statement.
struct Prepared {
    used: Instant,
    /// The role that it takes.
    role: Role,
}

/// Runs the statements of a session, on behalf of its caller.
pub(super) struct Backend {
    door: Arc<Door>,
    caller: Caller,
    id: String,
    context: OnceCell<Arc<SessionContext>>,
}

impl Session {
    /// Creates the session of `caller`. Its catalog is made when it is first needed.
    pub(super) fn new(door: &Arc<Door>, caller: Caller) -> Self {
        let id = format!("flight-sql-{}", new_instance_id());
        let backend = Arc::new(Backend { door: Arc::clone(door), caller, id, context: OnceCell::new() });
        Self {
            // Tickets for executors' results never reach the service: the door forwards them itself.
            service: BallistaFlightSqlService::new(
                Arc::clone(&backend),
                BallistaFlightProxyService::new(0, 0, false, None),
            ),
            backend,
            prepared: Mutex::default(),
            results: Mutex::default(),
        }
    }

    /// Checks that a statement is within the limits and that the caller may run it, and returns the role that it takes. It is
    /// planned for that first: the service walks the whole of its plan before any rule of ours sees it, and a short text may be a
    /// plan without end. What cannot be planned here is refused, though the service might do so a moment later: nothing would be
    /// known of what it does.
    pub(super) async fn may_run(&self, caller: &Caller, sql: &str) -> Result<Role, Status> {
        caller.needs(Role::Reader)?;
        let limits = self.backend.door.connectors.limits();
        let checked = check_sql_and(sql, limits, check_statement);
        // In words: clients of Flight SQL are not ours.
        checked.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let context = self.backend.context().await.map_err(|error| Status::internal(error.to_string()))?;
        let plan = context.state().create_logical_plan(sql).await;
        let plan = plan.map_err(|error| Status::invalid_argument(Error::from(error).to_string()))?;
        let sized = guard::check(&plan, limits).map_err(Error::from);
        sized.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let role = plan::role_of(&plan).unwrap_or(Role::Writer);
        caller.needs(role)?;
        Ok(role)
    }

    /// Takes note of a result that was computed here, and drops the oldest of too many.
    pub(super) async fn keep_result(&self, info: &FlightInfo) {
        let handles = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()).filter_map(handle);
        let dropped: Vec<_> = {
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            results.extend(handles.filter(|handle| handle.first() == Some(&COMPUTED_HERE)));
            let over = results.len().saturating_sub(MOST_RESULTS);
            results.drain(..over).collect()
        };
        for handle in dropped {
            let ticket = TicketStatementQuery { statement_handle: handle.into() };
            // Fetching takes it out of the service. It may be gone already.
            let _ = self.service.do_get_statement(ticket, Request::new(Ticket::default())).await;
        }
    }

    /// Forgets a result that is fetched.
    pub(super) fn result_fetched(&self, handle: &[u8]) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).retain(|kept| kept != handle);
    }

    /// Checks that there is room for one more prepared statement.
    pub(super) fn may_prepare(&self) -> Result<(), Status> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.retain(|_, statement| statement.used.elapsed() < PREPARED_IDLE);
        if prepared.len() < MOST_PREPARED {
            return Ok(());
        }
        Err(Status::resource_exhausted(format!(
            "this session has {MOST_PREPARED} prepared statements, which is the limit: close some first"
        )))
    }

    /// Takes note of a prepared statement that takes `role`.
    pub(super) fn has_prepared(&self, handle: &[u8], role: Role) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.insert(handle.to_vec(), Prepared { used: Instant::now(), role });
    }

    /// Checks that the caller may run a prepared statement: it may have had another role when it prepared it.
    pub(super) fn may_run_prepared(&self, caller: &Caller, handle: &[u8]) -> Result<(), Status> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        // The service says that one which is not there is not there.
        let Some(statement) = prepared.get_mut(handle) else { return Ok(()) };
        statement.used = Instant::now();
        Ok(caller.needs(statement.role)?)
    }

    /// Forgets a prepared statement.
    pub(super) fn prepared_closed(&self, handle: &[u8]) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(handle);
    }
}

/// The handle in the ticket of a statement's result.
fn handle(ticket: &Ticket) -> Option<Vec<u8>> {
    let any = Any::decode(ticket.ticket.as_ref()).ok()?;
    let ticket: TicketStatementQuery = any.unpack().ok()??;
    Some(ticket.statement_handle.to_vec())
}

impl Backend {
    async fn context(&self) -> BallistaResult<&Arc<SessionContext>> {
        self.context.get_or_try_init(|| self.door.server.session(&self.id)).await
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        tracing::debug!(session = self.id, "a session of flight sql ends");
    }
}

#[async_trait]
impl QueryBackend for Backend {
    /// The one session of this backend: every service has a backend of its own.
    async fn session(&self, _: &str) -> BallistaResult<Arc<SessionContext>> {
        Ok(Arc::clone(self.context().await?))
    }

    async fn close_session(&self, _: &str) -> BallistaResult<()> {
        self.door.server.close_session(&self.id).await
    }

    async fn execute(
        &self,
        job: &str,
        context: Arc<SessionContext>,
        plan: LogicalPlan,
    ) -> BallistaResult<QueryResult> {
        Owners::submitting(&self.caller, self.door.server.execute(job, context, plan)).await
    }
}
