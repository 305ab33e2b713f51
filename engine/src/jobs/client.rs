//! The session's side: asks the scheduler for the progress of jobs, and cancels them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::http::{Request, StatusCode};
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{CancelJobParams, ExecuteQueryParams, GetJobStatusResult};
use ballista_core::{BALLISTA_VERSION, version};
use firesteel_common::net::Dialer;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::{ACTIVITY_PATH, Activity, Job, Progress};
use crate::peers::patient;
use crate::wire::MAX_MESSAGE;
use crate::{ConfigField, Error, Result};

const SCHEDULER: &str = "the scheduler";

/// How long the scheduler may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The interval at which the scheduler is asked for jobs that are being cancelled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long cancelled jobs may take to end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer, in bytes.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The largest answer of a scheduler that refuses, in bytes.
const LARGEST_REFUSAL: usize = 16 * 1024;

/// Connections to a scheduler, which are opened on first use. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct JobClient {
    channel: Channel,
    /// For queries, each of which is an open question for as long as it runs: a connection has places for 256.
    queries: Channel,
    address: String,
}

impl JobClient {
    /// Creates a client for a URL such as `http://localhost:50050`. Must be called inside a runtime.
    pub(crate) fn new(url: &str, dialer: &Dialer) -> Result<Self> {
        let address = url.split_once("://").map_or(url, |(_, address)| address).to_owned();
        let endpoint = dialer.endpoint(url).map_err(|source| Error::Dial { role: SCHEDULER, source })?;
        let endpoint = patient(endpoint);
        let [channel, queries] = [(); 2].map(|()| dialer.connect_lazy(&endpoint));
        Ok(Self { channel, queries, address })
    }

    /// Returns host and port of the scheduler.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Submits a query, and returns the states of its job as they change.
    ///
    /// # Errors
    /// The status of a scheduler that refuses, or that cannot be reached.
    pub(crate) async fn submit(
        &self,
        query: ExecuteQueryParams,
    ) -> std::result::Result<Streaming<GetJobStatusResult>, Status> {
        let mut scheduler = SchedulerGrpcClient::new(self.queries.clone())
            .max_encoding_message_size(MAX_MESSAGE)
            .max_decoding_message_size(MAX_MESSAGE);
        let request = || {
            let mut request = tonic::Request::new(query.clone());
            version::insert_version_header(request.metadata_mut());
            request
        };
        let answer = match scheduler.execute_query_push(request()).await {
            Err(status) if was_not_sent(&status) => scheduler.execute_query_push(request()).await,
            answer => answer,
        }?;
        let theirs = version::version_from_metadata(answer.metadata());
        let fits = version::check_compatibility(Some(BALLISTA_VERSION), theirs);
        let mut states = answer.into_inner();
        if let Err(message) = fits {
            // A scheduler before 55 has not looked at the version: the job is there.
            tokio::spawn(async move {
                if let Ok(Some(GetJobStatusResult { status: Some(status), .. })) = states.message().await
                    && let Err(error) =
                        scheduler.cancel_job(CancelJobParams { job_id: status.job_id.clone() }).await
                {
                    tracing::warn!(%error, job = status.job_id, "cannot cancel the job of another version");
                }
            });
            return Err(Status::failed_precondition(message));
        }
        Ok(states)
    }

    fn unreachable(&self, error: impl std::fmt::Display) -> Error {
        Error::Unreachable {
            role: SCHEDULER,
            address: self.address.clone(),
            setting: ConfigField::Scheduler,
            message: error.to_string(),
        }
    }

    /// Waits for an answer, for at most [`TIMEOUT`].
    async fn answer<T, E: std::fmt::Display>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T> {
        match tokio::time::timeout(TIMEOUT, call).await {
            Ok(answer) => answer.map_err(|error| self.unreachable(error)),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    /// Returns the executors, and the running jobs whose names start with `prefix`; `None` if the scheduler does not
    /// have the route, such as plain Ballista's.
    pub(crate) async fn activity(&self, prefix: &str) -> Result<Option<Activity>> {
        let name: String = url::form_urlencoded::byte_serialize(prefix.as_bytes()).collect();
        let request = Request::get(format!("{ACTIVITY_PATH}?name={name}"))
            .body(Body::empty())
            .map_err(|error| self.unreachable(error))?;
        let mut channel = self.channel.clone();
        let call = async {
            std::future::poll_fn(|context| GrpcService::<Body>::poll_ready(&mut channel, context)).await?;
            GrpcService::<Body>::call(&mut channel, request).await
        };
        let response = self.answer(call).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
                let body =
                    axum::body::to_bytes(axum::body::Body::new(response.into_body()), LARGEST_REFUSAL).await;
                let words = body.map_err(|error| self.unreachable(error))?;
                return Err(refused(String::from_utf8_lossy(&words).trim()));
            }
            status => return Err(self.unreachable(format!("it answers {ACTIVITY_PATH} with {status}"))),
        }
        // A gRPC service answers an unknown route with HTTP status 200 and a gRPC status.
        if response
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
        {
            return Ok(None);
        }
        let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), LARGEST_ANSWER);
        let bytes = self.answer(body).await?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.unreachable(error))
    }

    async fn cancel(&self, job: &Job) -> Result<()> {
        let mut scheduler = SchedulerGrpcClient::new(self.channel.clone());
        let asked = scheduler.cancel_job(CancelJobParams { job_id: job.id.clone() });
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if is_refusal(&status) => Err(refused(status.message())),
            Ok(Err(status)) => Err(self.unreachable(status)),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }
}

fn refused(message: &str) -> Error {
    Error::Refused { role: SCHEDULER, message: message.to_owned() }
}

/// Whether a question has not left this process: its connection had been closed, and nobody had noticed yet.
fn was_not_sent(status: &Status) -> bool {
    status.code() == Code::Cancelled && std::error::Error::source(status).is_some()
}

/// Whether a server refuses who asks.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
}

/// Reports the progress of the jobs of a session, or of one of them, and cancels them.
#[derive(Clone, Debug)]
pub struct Watch {
    client: JobClient,
    prefix: String,
}

impl Watch {
    pub(crate) fn new(client: JobClient, prefix: String) -> Self {
        Self { client, prefix }
    }

    /// Returns the progress of the oldest job. `None` while it is planned, after its end, and if the scheduler does not
    /// report it.
    pub async fn progress(&self) -> Result<Option<Progress>> {
        let activity = self.client.activity(&self.prefix).await?;
        Ok(activity.and_then(|activity| activity.jobs.first().map(Job::progress)))
    }

    /// Cancels the running jobs, waits until the scheduler has ended them, for at most ten seconds, and returns their
    /// number.
    ///
    /// A job that is still being planned is not found: [`Watch::cancel_until`] waits for it.
    pub async fn cancel(&self) -> Result<usize> {
        let (mut cancelled, end) = (HashSet::new(), Instant::now() + CANCEL_TIMEOUT);
        while self.cancel_running(&mut cancelled).await? > 0 && Instant::now() < end {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(cancelled.len())
    }

    /// Cancels the jobs as they appear until `ended`, the future that runs them, completes, and returns its output.
    /// `None` if it does not complete within ten seconds: a job that is being planned cannot be cancelled, and may run.
    pub async fn cancel_until<T>(&self, ended: impl Future<Output = T>) -> Result<Option<T>> {
        let cancelling = async {
            let mut cancelled = HashSet::new();
            loop {
                if let Err(error) = self.cancel_running(&mut cancelled).await {
                    return error;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            ended = ended => Ok(Some(ended)),
            error = cancelling => Err(error),
            () = tokio::time::sleep(CANCEL_TIMEOUT) => Ok(None),
        }
    }

    /// Requests the cancellation of every running job that is not in `cancelled`, and returns the number of running
    /// jobs.
    async fn cancel_running(&self, cancelled: &mut HashSet<String>) -> Result<usize> {
        let jobs = self.client.activity(&self.prefix).await?.unwrap_or_default().jobs;
        for job in &jobs {
            if cancelled.insert(job.id.clone()) {
                self.client.cancel(job).await?;
            }
        }
        Ok(jobs.len())
    }
}
