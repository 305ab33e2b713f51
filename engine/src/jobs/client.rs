//! The session's side: asks the scheduler how its jobs are doing, and cancels them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::http::{Request, StatusCode};
use ballista_core::serde::protobuf::CancelJobParams;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};

use super::{ACTIVITY_PATH, Activity, Job, Progress};
use crate::config::SCHEDULER_SETTING;
use crate::{Error, Result};

/// How long the scheduler may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a job that is being cancelled is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the end of cancelled jobs is waited for.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer, in bytes.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// A connection to a scheduler, made when it is first used. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct JobClient {
    channel: Channel,
    address: String,
}

impl JobClient {
    /// `url`: such as `http://localhost:50050`. Must be called inside a runtime.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let address = url.trim_start_matches("http://").to_owned();
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| Error::InvalidSetting {
            setting: SCHEDULER_SETTING,
            message: error.to_string(),
        })?;
        Ok(Self { channel: endpoint.connect_timeout(TIMEOUT).tcp_nodelay(true).connect_lazy(), address })
    }

    /// Host and port of the scheduler.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn unreachable(&self, error: impl std::fmt::Display) -> Error {
        Error::Unreachable {
            role: "the scheduler",
            address: self.address.clone(),
            setting: SCHEDULER_SETTING,
            message: error.to_string(),
        }
    }

    /// Waits for an answer, though not for ever.
    async fn answer<T, E: std::fmt::Display>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T> {
        match tokio::time::timeout(TIMEOUT, call).await {
            Ok(answer) => answer.map_err(|error| self.unreachable(error)),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    /// The executors, and the running jobs whose names start with `prefix`. None where the scheduler does not tell, as
    /// that of plain Ballista.
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
            status => return Err(self.unreachable(format!("it answers {ACTIVITY_PATH} with {status}"))),
        }
        // A gRPC service answers what it does not know with 200 and a status of its own.
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
        self.answer(scheduler.cancel_job(CancelJobParams { job_id: job.id.clone() })).await?;
        Ok(())
    }
}

/// Watches over the jobs of a session, or over one of them: says how far they are, and cancels them.
#[derive(Clone, Debug)]
pub struct Watch {
    client: JobClient,
    prefix: String,
}

impl Watch {
    pub(crate) fn new(client: JobClient, prefix: String) -> Self {
        Self { client, prefix }
    }

    /// How far the oldest of the jobs is. None while it is planned, after its end, and where the scheduler does not
    /// tell.
    pub async fn progress(&self) -> Result<Option<Progress>> {
        let activity = self.client.activity(&self.prefix).await?;
        Ok(activity.and_then(|activity| activity.jobs.first().map(Job::progress)))
    }

    /// Cancels the jobs that run now, and returns how many that were once the scheduler has ended them, or after ten
    /// seconds.
    ///
    /// A job that is still being planned is not seen: [`Watch::cancel_until`] waits for it.
    pub async fn cancel(&self) -> Result<usize> {
        let (mut cancelled, end) = (HashSet::new(), Instant::now() + CANCEL_TIMEOUT);
        while self.cancel_running(&mut cancelled).await? > 0 && Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(cancelled.len())
    }

    /// Cancels the jobs as they appear, until what started them has `ended`, and returns what came of it. None where it
    /// has not ended within ten seconds: a job that is being planned cannot be cancelled, and will run.
    pub async fn cancel_until<T>(&self, ended: impl Future<Output = T>) -> Result<Option<T>> {
        let cancelling = async {
            let mut cancelled = HashSet::new();
            loop {
                if let Err(error) = self.cancel_running(&mut cancelled).await {
                    return error;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            ended = ended => Ok(Some(ended)),
            error = cancelling => Err(error),
            () = tokio::time::sleep(CANCEL_TIMEOUT) => Ok(None),
        }
    }

    /// Asks for the end of every running job for which that was not asked yet; how many jobs run.
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
