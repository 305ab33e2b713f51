//! Arrow Flight behind the checks of who asks: SQL, and the results of jobs.
//!
//! ```text
//!  statement ──▶ session of the caller ──▶ what it does: role ──▶ Ballista's service of that session
//!  ticket ─────▶ job: is it the caller's? ─▶ host and port: a registered executor? ──▶ executor
//! ```
//!
//! Ballista's service knows sessions only by tokens that it gives out itself, shares one among all clients without a
//! handshake, and keeps what they make without a limit. So every session has a service of its own here, which goes with it.
//!
//! A handshake takes `Basic`, of which the password is the token, or `Bearer`. With authentication it gives back the same
//! token, and the session is the user's. Without, it gives out a new token for a session of its own, which later calls
//! send; calls without one have the session of their connection.

mod session;
mod sessions;

use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery,
    CommandStatementQuery, CommandStatementUpdate, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{Action, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket};
use ballista_core::serde::decode_protobuf;
use ballista_core::serde::scheduler::Action as Fetch;
use ballista_scheduler::cluster::ClusterState as _;
use firesteel_common::access::{Caller, Role, Secret};
use firesteel_common::http::Connection;
use futures::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use self::session::{COMPUTED_HERE, ON_EXECUTORS, Session};
use self::sessions::{Key, Sessions};
use super::{Door, caller};

type DoGetStream = <FlightDoor as FlightService>::DoGetStream;
type HandshakeStream = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

const AUTHORIZATION: &str = "authorization";

/// The door of Arrow Flight.
pub(in crate::cluster::scheduler) struct FlightDoor {
    door: Arc<Door>,
    /// Whether SQL is served, or results alone.
    sql: bool,
    sessions: Sessions<Session>,
}

impl FlightDoor {
    pub(super) fn new(door: Arc<Door>, sql: bool) -> Self {
        Self { door, sql, sessions: Sessions::default() }
    }

    /// Returns who asks and the session of theirs, and takes the credential out of the request: the service inside has one
    /// session alone.
    fn enter<T>(&self, request: &mut Request<T>) -> Result<(Caller, Arc<Session>), Status> {
        if !self.sql {
            return Err(Status::unimplemented("Arrow Flight SQL is not served here (scheduler.flight_sql)"));
        }
        let caller = caller(request)?;
        caller.needs(Role::Reader)?;
        let connection = request.extensions().get::<Connection>().cloned();
        let token = bearer(request.metadata());
        request.metadata_mut().remove(AUTHORIZATION);
        let key = match &caller {
            Caller::User(user) => Key::User(user.name.clone()),
            Caller::Member => Key::Member,
            Caller::Open => match (token, connection) {
                (Some(token), _) => {
                    let session = self.sessions.find(&Key::Handshake(token)).ok_or_else(|| {
                        Status::unauthenticated("unknown or expired session token: make the handshake again")
                    })?;
                    return Ok((caller, session));
                }
                (None, Some(connection)) => Key::Connection(connection),
                (None, None) => {
                    return Err(Status::unauthenticated("make the handshake of Arrow Flight first"));
                }
            },
        };
        let session = self.sessions.open(key, || Session::new(&self.door, caller.clone()));
        Ok((caller, session))
    }

    /// Forwards the output of a task to whom its job belongs.
    async fn fetch(&self, caller: &Caller, ticket: Ticket) -> Result<Response<DoGetStream>, Status> {
        caller.needs(Role::Reader)?;
        let fetch = decode_protobuf(&ticket.ticket)
            .map_err(|error| Status::invalid_argument(format!("invalid ticket: {error}")))?;
        let Fetch::FetchPartition { job_id, host, port, .. } = &fetch;
        self.door.owners.check(caller, job_id.as_str())?;
        let executors = self.door.executors.registered_executor_metadata().await;
        if !executors.iter().any(|executor| executor.host == *host && executor.port == *port) {
            return Err(Status::permission_denied(
                "the ticket names no executor of this cluster: it may have left, run the query again",
            ));
        }
        Ok(Response::new(self.door.clients.output(host, *port, ticket).await?))
    }
}

/// The token in the headers of a call.
fn bearer(metadata: &MetadataMap) -> Option<String> {
    let (scheme, token) = metadata.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The user's name and the token of a handshake, which has either way to tell the token.
fn credential(metadata: &MetadataMap) -> Option<(Option<String>, String)> {
    use base64::Engine as _;
    if let Some(token) = bearer(metadata) {
        return Some((None, token));
    }
    let (scheme, encoded) = metadata.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some((Some(user.to_owned()), password.to_owned()))
}

#[tonic::async_trait]
impl FlightSqlService for FlightDoor {
    type FlightService = Self;

    /// The one method that the gate lets through without a credential: what it has may stand where the gate does not look.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<HandshakeStream>, Status> {
        let sent = credential(request.metadata());
        let access = &self.door.access;
        let token = if access.is_open() {
            let token = Secret::random().expose().to_owned();
            self.sessions.open(Key::Handshake(token.clone()), || Session::new(&self.door, Caller::Open));
            token
        } else {
            let refused =
                || Status::unauthenticated("a handshake sends a token as the password or as a bearer token");
            let (name, token) = sent.ok_or_else(refused)?;
            let holder = access.holder_of(&token)?;
            if let (Some(name), Some(user)) = (name, holder.user())
                && name != user
            {
                return Err(Status::unauthenticated(
                    "this token is that of another user (security.tokens_file)",
                ));
            }
            token
        };
        let header = format!("Bearer {token}").parse();
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let stream: HandshakeStream = Box::pin(futures::stream::once(async { Ok(answer) }));
        let mut response = Response::new(stream);
        let header = header.map_err(|_| Status::internal("the token is no header"))?;
        response.metadata_mut().insert(AUTHORIZATION, header);
        Ok(response)
    }

    /// Ballista's own client fetches results with tickets that are no commands of Flight SQL.
    async fn do_get_fallback(
        &self,
        request: Request<Ticket>,
        _: Any,
    ) -> Result<Response<DoGetStream>, Status> {
        let caller = caller(&request)?;
        self.fetch(&caller, request.into_inner()).await
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (caller, session) = self.enter(&mut request)?;
        session.may_run(&caller, &query.query).await?;
        let answer = session.service.get_flight_info_statement(query, request).await?;
        session.keep_result(answer.get_ref()).await;
        Ok(answer)
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (caller, session) = self.enter(&mut request)?;
        session.may_run_prepared(&caller, &query.prepared_statement_handle)?;
        let answer = session.service.get_flight_info_prepared_statement(query, request).await?;
        session.keep_result(answer.get_ref()).await;
        Ok(answer)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        mut request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        match ticket.statement_handle.first() {
            Some(&ON_EXECUTORS) => {
                let caller = caller(&request)?;
                let ticket = Ticket { ticket: ticket.statement_handle.slice(1..) };
                self.fetch(&caller, ticket).await
            }
            Some(&COMPUTED_HERE) => {
                let (_, session) = self.enter(&mut request)?;
                session.result_fetched(&ticket.statement_handle);
                session.service.do_get_statement(ticket, request).await
            }
            _ => Err(Status::invalid_argument("invalid ticket: its handle is of no known kind")),
        }
    }

    async fn do_put_statement_update(
        &self,
        ticket: CommandStatementUpdate,
        mut request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let (caller, session) = self.enter(&mut request)?;
        session.may_run(&caller, &ticket.query).await?;
        session.service.do_put_statement_update(ticket, request).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        mut request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let (caller, session) = self.enter(&mut request)?;
        session.may_prepare()?;
        let role = session.may_run(&caller, &query.query).await?;
        let prepared = session.service.do_action_create_prepared_statement(query, request).await?;
        session.has_prepared(&prepared.prepared_statement_handle, role);
        Ok(prepared)
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        mut request: Request<Action>,
    ) -> Result<(), Status> {
        let (_, session) = self.enter(&mut request)?;
        session.prepared_closed(&query.prepared_statement_handle);
        session.service.do_action_close_prepared_statement(query, request).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.get_flight_info_catalogs(query, request).await
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.get_flight_info_schemas(query, request).await
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.get_flight_info_tables(query, request).await
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.get_flight_info_table_types(query, request).await
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.get_flight_info_sql_info(query, request).await
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        mut request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.get_flight_info_xdbc_type_info(query, request).await
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        mut request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.do_get_catalogs(query, request).await
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        mut request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.do_get_schemas(query, request).await
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        mut request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.do_get_tables(query, request).await
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        mut request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.do_get_table_types(query, request).await
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        mut request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.do_get_sql_info(query, request).await
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        mut request: Request<Ticket>,
    ) -> Result<Response<DoGetStream>, Status> {
        let (_, session) = self.enter(&mut request)?;
        session.service.do_get_xdbc_type_info(query, request).await
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {
        // What Ballista's service can do is fixed.
    }
}
