//! Tickets of Arrow Flight: where they lead, and for whom.

use std::time::Duration;

use arrow_flight::Ticket;
use arrow_flight::sql::{Any, ProstMessageExt as _, TicketStatementQuery};
use ballista_core::JobId;
use ballista_core::serde::protobuf;
use ballista_core::serde::scheduler::{Action, ShuffleFileKind, ShuffleLayout};
use firesteel_testkit::Cluster;
use prost::Message as _;
use tokio::net::TcpListener;

use super::support::{ADA, BOB, Guarded, ROOT, SECRET, connect, fetch, settings};

/// The two forms of a ticket for the first partition of a stage.
fn tickets(job: &str, host: &str, port: u16) -> [Ticket; 2] {
    let action = Action::FetchPartition {
        job_id: JobId::from(job),
        stage_id: 1,
        partition_id: 0,
        host: host.to_owned(),
        port,
        file_id: None,
        layout: ShuffleLayout::default(),
        file_kind: ShuffleFileKind::Data,
        byte_ranges: Vec::new(),
    };
    let action: protobuf::Action = action.try_into().expect("an action");
    let bytes = action.encode_to_vec();
    let handle = [vec![0], bytes.clone()].concat();
    let statement: Any = TicketStatementQuery { statement_handle: handle.into() }.as_any();
    [Ticket { ticket: bytes.into() }, Ticket { ticket: statement.encode_to_vec().into() }]
}

/// The scheduler is no port scanner: it dials nothing but executors of its cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_leads_to_registered_executors_alone() {
    let cluster = Cluster::start(settings(), 1).await;
    let inside = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = inside.local_addr().expect("bound").port();
    let mut client = connect(cluster.address()).await;
    for ticket in tickets("x", "127.0.0.1", port) {
        let told = client.do_get(ticket).await.expect_err("refused").to_string();
        assert!(told.contains("no executor of this cluster"), "{told}");
    }
    let dialled = tokio::time::timeout(Duration::from_millis(300), inside.accept()).await;
    assert!(dialled.is_err(), "the scheduler has dialled {dialled:?}");
    // A path in place of a job leads nowhere either.
    let executors = cluster.get("/api/executors").await.expect("executors").json();
    let executor =
        (executors[0]["host"].as_str().expect("a host"), executors[0]["port"].as_u64().expect("a port"));
    for job in ["/etc", "../..", "x/../../y"] {
        for ticket in tickets(job, executor.0, u16::try_from(executor.1).expect("a port")) {
            let told = client.do_get(ticket).await.err().map(|error| error.to_string());
            assert!(told.as_ref().is_some_and(|told| !told.contains("No such file")), "{job}: {told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_belongs_to_whom_asked_for_it() {
    let guarded = Guarded::start(1).await;
    let mut ada = guarded.client(ADA).await;
    let sql = "SELECT 'hunter2' AS password, sum(column1) AS s FROM (VALUES (1), (2))".to_owned();
    let info = ada.execute(sql, None).await.expect("a result");
    let batches = fetch(&mut ada, info.clone()).await.expect("her own");
    assert_eq!(batches.iter().map(arrow::record_batch::RecordBatch::num_rows).sum::<usize>(), 1);
    let mut bob = guarded.client(BOB).await;
    let told = fetch(&mut bob, info.clone()).await.expect_err("hers").to_string();
    assert!(told.contains("no job of bob") && told.contains("admin"), "{told}");
    for token in [ROOT, SECRET] {
        fetch(&mut guarded.client(token).await, info.clone()).await.expect("who looks after the cluster");
    }
    let mut nobody = connect(guarded.address()).await;
    let told = fetch(&mut nobody, info).await.expect_err("without a token").to_string();
    assert!(told.contains("access.token"), "{told}");
    // What the scheduler has computed itself is in the session of its user.
    let info = ada.execute("SHOW TABLES".to_owned(), None).await.expect("a result");
    fetch(&mut bob, info.clone()).await.expect_err("hers");
    fetch(&mut ada, info).await.expect("her own");
}
