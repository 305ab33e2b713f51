//! What each role may do over gRPC and Arrow Flight SQL, and what nobody may without a credential.

use std::sync::Arc;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Criteria, FlightDescriptor, Ticket};
use ballista_core::extension::{SessionConfigExt as _, SessionStateExt as _};
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, CleanJobDataParams, CreateUpdateSessionParams, ExecuteQueryParams, ExecutorRegistration,
    ExecutorStoppedParams, GetJobMetricsParams, GetJobStatusParams, HeartBeatParams, PollWorkParams,
    RegisterExecutorParams, RemoveSessionParams, UpdateTaskStatusParams,
};
use datafusion::execution::SessionState;
use datafusion::prelude::{SessionConfig, SessionContext};
use firesteel_engine::{Config, Dialer, Session};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use super::support::{ADA, BOB, Guarded, ROOT, SECRET, channel, connect, run};

/// Adds a token, if there is one, and the version of Ballista.
#[derive(Clone)]
struct As(Option<&'static str>);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("ballista-version", MetadataValue::from_static("55.0.0"));
        if let Some(token) = self.0 {
            let bearer = format!("Bearer {token}").parse().expect("a header");
            request.metadata_mut().insert("authorization", bearer);
        }
        Ok(request)
    }
}

/// What each method of the scheduler's service answers, with messages of which none does any harm.
async fn knock(guarded: &Guarded, token: Option<&'static str>) -> Vec<(&'static str, Status)> {
    let channel = channel(guarded.address()).await;
    let mut client = SchedulerGrpcClient::with_interceptor(channel, As(token));
    let job_id = || "nothing".to_owned();
    let executor_id = || "nobody".to_owned();
    let query = || ExecuteQueryParams { query: Some(Query::LogicalPlan(vec![255])), ..Default::default() };
    let metadata = || Some(ExecutorRegistration { id: executor_id(), ..Default::default() });
    let told = |method, answer: Result<(), Status>| (method, answer.err().unwrap_or_else(|| Status::ok("")));
    vec![
        told("ExecuteQuery", client.execute_query(query()).await.map(drop)),
        told("ExecuteQueryPush", client.execute_query_push(query()).await.map(drop)),
        told("GetJobStatus", client.get_job_status(GetJobStatusParams { job_id: job_id() }).await.map(drop)),
        told(
            "GetJobMetrics",
            client.get_job_metrics(GetJobMetricsParams { job_id: job_id() }).await.map(drop),
        ),
        told("CancelJob", client.cancel_job(CancelJobParams { job_id: job_id() }).await.map(drop)),
        told(
            "CleanJobData",
            client
                .clean_job_data(CleanJobDataParams { job_id: job_id(), ..Default::default() })
                .await
                .map(drop),
        ),
        told(
            "CreateUpdateSession",
            client.create_update_session(CreateUpdateSessionParams::default()).await.map(drop),
        ),
        told("RemoveSession", client.remove_session(RemoveSessionParams::default()).await.map(drop)),
        told(
            "RegisterExecutor",
            client.register_executor(RegisterExecutorParams { metadata: metadata() }).await.map(drop),
        ),
        told(
            "HeartBeatFromExecutor",
            client
                .heart_beat_from_executor(HeartBeatParams {
                    executor_id: executor_id(),
                    metadata: metadata(),
                    ..Default::default()
                })
                .await
                .map(drop),
        ),
        told(
            "UpdateTaskStatus",
            client
                .update_task_status(UpdateTaskStatusParams {
                    executor_id: executor_id(),
                    ..Default::default()
                })
                .await
                .map(drop),
        ),
        told(
            "ExecutorStopped",
            client
                .executor_stopped(ExecutorStoppedParams { executor_id: executor_id(), ..Default::default() })
                .await
                .map(drop),
        ),
        told("PollWork", client.poll_work(PollWorkParams::default()).await.map(drop)),
    ]
}

const OF_MEMBERS: [&str; 5] =
    ["RegisterExecutor", "HeartBeatFromExecutor", "UpdateTaskStatus", "ExecutorStopped", "PollWork"];
const OF_JOBS: [&str; 4] = ["GetJobStatus", "GetJobMetrics", "CancelJob", "CleanJobData"];

#[tokio::test(flavor = "multi_thread")]
async fn every_method_asks_who_is_there_and_what_they_may() {
    let guarded = Guarded::start(0).await;
    for token in [None, Some("nobody-has-this-token")] {
        for (method, status) in knock(&guarded, token).await {
            assert_eq!(status.code(), Code::Unauthenticated, "{method}: {status}");
            assert!(status.message().contains("access.token"), "{method}: {status}");
        }
    }
    for (token, is_admin, is_member) in
        [(BOB, false, false), (ADA, false, false), (ROOT, true, false), (SECRET, true, true)]
    {
        for (method, status) in knock(&guarded, Some(token)).await {
            let denied = status.code() == Code::PermissionDenied;
            let may = match method {
                _ if OF_MEMBERS.contains(&method) => is_member,
                _ if OF_JOBS.contains(&method) => is_admin,
                _ => true,
            };
            assert_eq!(denied, !may, "{method} by {token}: {status}");
            assert_ne!(status.code(), Code::Unauthenticated, "{method} by {token}: {status}");
            if OF_JOBS.contains(&method) && denied {
                assert!(status.message().contains("admin"), "{method}: {status}");
            }
        }
    }

    // Arrow Flight, but for the handshake, which is where one says who one is.
    let mut flight = FlightServiceClient::new(channel(guarded.address()).await);
    let told = [
        flight.get_flight_info(FlightDescriptor::default()).await.map(drop),
        flight.do_get(Ticket::default()).await.map(drop),
        flight.list_flights(Criteria::default()).await.map(drop),
        flight.list_actions(arrow_flight::Empty {}).await.map(drop),
    ];
    for answer in told {
        assert_eq!(answer.expect_err("nobody").code(), Code::Unauthenticated);
    }
    let mut client = connect(guarded.address()).await;
    for (user, password) in [("", ""), ("ada", "nobody-has-this-token"), ("bob", ADA)] {
        let error = client.handshake(user, password).await.expect_err("refused").to_string();
        assert!(error.contains("Unauthenticated") || error.contains("authenticat"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_physical_plan_is_refused_whoever_sends_it() {
    let guarded = Guarded::start(0).await;
    for token in [BOB, ROOT, SECRET] {
        let channel = channel(guarded.address()).await;
        let mut client = SchedulerGrpcClient::with_interceptor(channel, As(Some(token)));
        let query =
            ExecuteQueryParams { query: Some(Query::PhysicalPlan(vec![1, 2, 3])), ..Default::default() };
        let status = client.execute_query(query.clone()).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains("physical plans"), "{status}");
        let status = client.execute_query_push(query).await.map(drop).expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_by_handshake_or_bearer_and_does_what_the_role_says() {
    let guarded = Guarded::start(1).await;
    for (user, token, writes) in [("bob", BOB, false), ("ada", ADA, true)] {
        let mut by_bearer = guarded.client(token).await;
        let mut by_handshake = connect(guarded.address()).await;
        let given = by_handshake.handshake(user, token).await.expect("signed in");
        assert_eq!(given, token.as_bytes(), "the session is the user's");
        for client in [&mut by_bearer, &mut by_handshake] {
            let rows = run(client, "SELECT sum(column1) AS s FROM (VALUES (1), (2))").await.expect("rows");
            assert!(rows.contains('3'), "{rows}");
            run(client, "SET datafusion.execution.batch_size = 4096").await.expect("a setting");
            for sql in ["CREATE OR REPLACE VIEW v AS SELECT 1 AS n", "DROP VIEW v"] {
                let told = run(client, sql).await.err();
                assert_eq!(told.is_none(), writes, "{user}: {sql}: {told:?}");
                assert!(told.is_none_or(|told| told.contains("writer") && told.contains("reader")));
            }
            let told =
                client.execute_update("CREATE OR REPLACE VIEW w AS SELECT 1 AS n".to_owned(), None).await;
            assert_eq!(told.is_ok(), writes, "{user}: {told:?}");
            let told = client.prepare("CREATE OR REPLACE VIEW w AS SELECT 1 AS n".to_owned(), None).await;
            assert_eq!(told.is_ok(), writes, "{user}");
        }
    }
}

/// The ways of Ballista's protocol: our own session, and the stock client.
#[tokio::test(flavor = "multi_thread")]
async fn plans_that_write_take_a_writer() {
    let guarded = Guarded::start(1).await;
    let target = guarded.cluster.folder().join("copied");
    let copy =
        format!("COPY (SELECT column1 FROM (VALUES (1), (2))) TO '{}/' STORED AS CSV", target.display());
    let dialer = |token: Option<&str>| {
        let token = token.map(|token| firesteel_common::access::Secret::new(token).expect("usable"));
        Dialer::default().with_credential(token)
    };
    for (token, reads, writes) in [
        (None, false, false),
        (Some("nobody-has-this-token"), false, false),
        (Some(BOB), true, false),
        (Some(ADA), true, true),
    ] {
        let config = Config { dialer: dialer(token), ..Config::default() };
        let session = Session::connect(&guarded.cluster.url(), config).await.expect("a session");
        let read: firesteel_engine::Result<Vec<(i64,)>> =
            match session.sql("SELECT sum(column1) FROM (VALUES (1), (2))").await {
                Ok(rows) => rows.collect_as().await,
                Err(error) => Err(error),
            };
        match read {
            Ok(rows) => assert!(reads && rows == [(3,)], "{token:?}: {rows:?}"),
            Err(error) => {
                assert!(!reads && error.to_string().contains("access.token"), "{token:?}: {error}");
                assert!(error.fields().contains(&firesteel_engine::ConfigField::AccessToken), "{error:?}");
            }
        }
        let copied: firesteel_engine::Result<usize> = match session.sql(&copy).await {
            Ok(rows) => rows.batches().await.map(|batches| batches.len()),
            Err(error) => Err(error),
        };
        assert_eq!(copied.is_ok(), writes, "{token:?}: {copied:?}");
        if let (Err(error), true) = (copied, reads) {
            assert!(error.to_string().contains("role writer"), "{error}");
        }
    }
    assert!(target.is_dir());

    // The stock client has a hook for headers, and fetches results with what its endpoints carry.
    for (token, reads) in [(None, false), (Some(BOB), true)] {
        let dialer = dialer(token);
        let config = SessionConfig::new_with_ballista().with_ballista_override_create_grpc_client_endpoint(
            Arc::new(move |endpoint| Ok(dialer.prepare(endpoint, |endpoint| endpoint)?)),
        );
        let url = format!("http://{}", guarded.address());
        let state = SessionState::new_ballista_state(url).expect("a state");
        let state =
            datafusion::execution::SessionStateBuilder::new_from_existing(state).with_config(config).build();
        let stock = SessionContext::new_with_state(state);
        let rows = async { stock.sql("SELECT sum(column1) FROM (VALUES (1), (2))").await?.collect().await };
        let rows = rows.await;
        assert_eq!(rows.is_ok(), reads, "{rows:?}");
    }
}
