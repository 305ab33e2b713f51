//! The calls of Spark Connect.

use std::pin::Pin;
use std::sync::Arc;

use firesteel_common::access::{Caller, Role};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::config_request::operation::OpType as Setting;
use firesteel_proto::spark::connect::execute_plan_request::request_option::RequestOption;
use firesteel_proto::spark::connect::interrupt_request::{Interrupt, InterruptType};
use firesteel_proto::spark::connect::release_execute_request::Release;
use firesteel_proto::spark::connect::spark_connect_service_server::SparkConnectService;
use futures::Stream;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::error::{Result, SparkError};
use super::execute::Execution;
use super::relation::Translator;
use super::session::{self, ClientSession, Sessions};
use super::settings::Settings;
use crate::limits::Deep;

/// Answers Spark's clients.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) sessions: Arc<Sessions>,
}

type Answered<T> = std::result::Result<Response<T>, Status>;
type Parts = Pin<Box<dyn Stream<Item = std::result::Result<proto::ExecutePlanResponse, Status>> + Send>>;

impl Service {
    /// The session of a request, for a caller who may read.
    fn session(
        &self,
        extensions: &Extensions,
        id: &str,
        observed: Option<&str>,
    ) -> std::result::Result<(Arc<ClientSession>, Caller), Status> {
        let caller = caller(extensions)?;
        let session = self.sessions.of(&caller, id, observed).map_err(|error| error.to_status(""))?;
        Ok((session, caller))
    }
}

/// The caller that the gate has found, who may read.
fn caller(extensions: &Extensions) -> std::result::Result<Caller, Status> {
    let found = Caller::of(extensions).and_then(|caller| caller.needs(Role::Reader).map(|()| caller.clone()));
    found.map_err(|refusal| SparkError::from(refusal).to_status(""))
}

#[tonic::async_trait]
impl SparkConnectService for Service {
    type ExecutePlanStream = Parts;
    type ReattachExecuteStream = Parts;

    async fn execute_plan(&self, request: Request<proto::ExecutePlanRequest>) -> Answered<Parts> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, caller) = self.session(&extensions, &request.session_id, observed)?;
        let reattachable = request.request_options.iter().any(|option| {
            matches!(&option.request_option, Some(RequestOption::ReattachOptions(options)) if options.reattachable)
        });
        let id = request.operation_id.as_deref().unwrap_or_default();
        let begun = session.begin(id, request.tags, reattachable);
        let operation = begun.map_err(|error| session.failed(error))?;
        let parts: Parts = Box::pin(operation.stream(None).map_err(|error| session.failed(error))?);
        let plan = request.plan.unwrap_or_default();
        let execution = Execution { session, operation, caller };
        tokio::spawn(Box::pin(execution.run(plan)));
        Ok(Response::new(parts))
    }

    async fn analyze_plan(
        &self,
        request: Request<proto::AnalyzePlanRequest>,
    ) -> Answered<proto::AnalyzePlanResponse> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        let missing =
            || session.failed(SparkError::unsupported("a question about a plan of an unknown kind"));
        let question = request.analyze.as_ref().ok_or_else(missing)?;
        let translator = Translator::new(&session.engine, &session.zone());
        let answer = Deep::new(translator.analyze(question)).await.map_err(|error| session.failed(error))?;
        Ok(Response::new(proto::AnalyzePlanResponse {
            session_id: session.id.clone(),
            server_side_session_id: session.server_id.clone(),
            result: Some(answer),
        }))
    }

    async fn config(&self, request: Request<proto::ConfigRequest>) -> Answered<proto::ConfigResponse> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        let operation = request.operation.and_then(|operation| operation.op_type);
        let pairs = match operation {
            Some(operation) => settings(&mut session.settings(), operation),
            None => Err(SparkError::incomplete("what to do with settings")),
        };
        let pairs = pairs.map_err(|error| session.failed(error))?;
        Ok(Response::new(proto::ConfigResponse {
            session_id: session.id.clone(),
            server_side_session_id: session.server_id.clone(),
            pairs,
            warnings: Vec::new(),
        }))
    }

    async fn add_artifacts(
        &self,
        request: Request<Streaming<proto::AddArtifactsRequest>>,
    ) -> Answered<proto::AddArtifactsResponse> {
        caller(request.extensions())?;
        let what = "artifacts: files, archives and code of a client are not taken";
        Err(SparkError::unsupported(what).to_status(""))
    }

    async fn artifact_status(
        &self,
        request: Request<proto::ArtifactStatusesRequest>,
    ) -> Answered<proto::ArtifactStatusesResponse> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        let none = proto::artifact_statuses_response::ArtifactStatus { exists: false };
        Ok(Response::new(proto::ArtifactStatusesResponse {
            session_id: session.id.clone(),
            server_side_session_id: session.server_id.clone(),
            statuses: request.names.into_iter().map(|name| (name, none)).collect(),
        }))
    }

    async fn interrupt(
        &self,
        request: Request<proto::InterruptRequest>,
    ) -> Answered<proto::InterruptResponse> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        let interrupted_ids = match (request.interrupt_type(), &request.interrupt) {
            (InterruptType::All, _) => session.interrupt(|_| true),
            (InterruptType::Tag, Some(Interrupt::OperationTag(tag))) => {
                session.interrupt(|operation| operation.tags.contains(tag))
            }
            (InterruptType::OperationId, Some(Interrupt::OperationId(id))) => {
                session.interrupt(|operation| operation.id == *id)
            }
            _ => return Err(session.failed(SparkError::incomplete("what to interrupt"))),
        };
        Ok(Response::new(proto::InterruptResponse {
            session_id: session.id.clone(),
            server_side_session_id: session.server_id.clone(),
            interrupted_ids,
        }))
    }

    async fn reattach_execute(&self, request: Request<proto::ReattachExecuteRequest>) -> Answered<Parts> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        let parts = session.operation(&request.operation_id).and_then(|operation| {
            if !operation.reattachable {
                let message = format!("Reattach not supported for operation {}.", operation.id);
                return Err(SparkError::handle("INVALID_CURSOR.NOT_REATTACHABLE", message));
            }
            operation.stream(request.last_response_id.as_deref())
        });
        let parts: Parts = Box::pin(parts.map_err(|error| session.failed(error))?);
        Ok(Response::new(parts))
    }

    async fn release_execute(
        &self,
        request: Request<proto::ReleaseExecuteRequest>,
    ) -> Answered<proto::ReleaseExecuteResponse> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        // What is not there any more has been released before.
        let operation = session.operation(&request.operation_id).ok();
        if let Some(operation) = &operation {
            match &request.release {
                Some(Release::ReleaseUntil(until)) => {
                    operation.release(Some(&until.response_id)).map_err(|error| session.failed(error))?;
                }
                Some(Release::ReleaseAll(_)) | None => session.forget(&operation.id),
            }
        }
        Ok(Response::new(proto::ReleaseExecuteResponse {
            session_id: session.id.clone(),
            server_side_session_id: session.server_id.clone(),
            operation_id: operation.map(|operation| operation.id.clone()),
        }))
    }

    async fn release_session(
        &self,
        request: Request<proto::ReleaseSessionRequest>,
    ) -> Answered<proto::ReleaseSessionResponse> {
        let (_, extensions, request) = request.into_parts();
        let caller = caller(&extensions)?;
        let released = self.sessions.release(&caller, &request.session_id);
        let server_side_session_id =
            released.as_ref().map(|session| session.server_id.clone()).unwrap_or_default();
        session::end(released.into_iter().collect());
        Ok(Response::new(proto::ReleaseSessionResponse {
            session_id: request.session_id,
            server_side_session_id,
        }))
    }

    async fn fetch_error_details(
        &self,
        request: Request<proto::FetchErrorDetailsRequest>,
    ) -> Answered<proto::FetchErrorDetailsResponse> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        let error = session.error(&request.error_id);
        Ok(Response::new(proto::FetchErrorDetailsResponse {
            session_id: session.id.clone(),
            server_side_session_id: session.server_id.clone(),
            root_error_idx: error.as_ref().map(|_| 0),
            errors: error.iter().map(SparkError::details).collect(),
        }))
    }

    async fn clone_session(
        &self,
        request: Request<proto::CloneSessionRequest>,
    ) -> Answered<proto::CloneSessionResponse> {
        let (_, extensions, request) = request.into_parts();
        let observed = request.client_observed_server_side_session_id.as_deref();
        let (session, _) = self.session(&extensions, &request.session_id, observed)?;
        Err(session.failed(SparkError::unsupported("copying a session")))
    }
}

/// Reads or changes settings.
fn settings(settings: &mut Settings, operation: Setting) -> Result<Vec<proto::KeyValue>> {
    let pair = |key: String, value: Option<String>| proto::KeyValue { key, value };
    let owned = |value: Option<&str>| value.map(str::to_owned);
    Ok(match operation {
        Setting::Set(set) => {
            for change in set.pairs {
                match change.value {
                    Some(value) => settings.set(&change.key, &value)?,
                    None => settings.unset(&change.key),
                }
            }
            Vec::new()
        }
        Setting::Get(get) => {
            let values = get.keys.into_iter().map(|key| {
                let value = settings.required(&key)?.to_owned();
                Ok(pair(key, Some(value)))
            });
            values.collect::<Result<_>>()?
        }
        Setting::GetWithDefault(get) => {
            let values = get.pairs.into_iter().map(|default| {
                let value = owned(settings.get(&default.key)).or(default.value);
                pair(default.key, value)
            });
            values.collect()
        }
        Setting::GetOption(get) => {
            let values = get.keys.into_iter().map(|key| {
                let value = owned(settings.get(&key));
                pair(key, value)
            });
            values.collect()
        }
        Setting::GetAll(get) => {
            let all = settings.all(get.prefix.as_deref().unwrap_or_default());
            all.into_iter().map(|(key, value)| pair(key, Some(value))).collect()
        }
        Setting::Unset(unset) => {
            unset.keys.iter().for_each(|key| settings.unset(key));
            Vec::new()
        }
        Setting::IsModifiable(asked) => {
            let answers = asked.keys.into_iter().map(|key| {
                let answer = Settings::is_modifiable(&key).to_string();
                pair(key, Some(answer))
            });
            answers.collect()
        }
    })
}
