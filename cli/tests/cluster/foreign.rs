//! Clients that are not ours: Arrow Flight SQL, and Ballista's own client without our codecs, which is what
//! `ballista-cli` is.

use crate::support::{World, in_time};
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightInfo;
use arrow_flight::sql::CommandGetTables;
use arrow_flight::sql::client::FlightSqlServiceClient;
use ballista_core::extension::SessionStateExt as _;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use firesteel_testkit::Cluster;
use futures::TryStreamExt as _;
use tonic::transport::{Channel, Endpoint};

pub(crate) type Client = FlightSqlServiceClient<Channel>;

pub(crate) async fn flight_sql(cluster: &Cluster) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.address())).expect("an address");
    FlightSqlServiceClient::new(endpoint.connect().await.expect("a connection"))
}

async fn fetch(client: &mut Client, info: FlightInfo) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        // No location means: from here. The client reaches no executor.
        assert!(endpoint.location.is_empty(), "{endpoint:?}");
        let stream = client.do_get(endpoint.ticket.expect("a ticket")).await.expect("a stream");
        batches.extend(stream.try_collect::<Vec<_>>().await.expect("batches"));
    }
    batches
}

fn text(batches: &[RecordBatch]) -> String {
    arrow::util::pretty::pretty_format_batches(batches).expect("text").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flight_sql_client_sees_the_tables_and_queries_them() {
    let Some(world) = World::new("cluster-flight-sql", 3_000, 3).await else { return };
    let cluster = Cluster::start(world.settings(), 2).await;
    let mut client = flight_sql(&cluster).await;

    let info = client.get_tables(CommandGetTables::default()).await.expect("tables");
    let tables = text(&fetch(&mut client, info).await);
    assert!(tables.contains("predictions"), "{tables}");

    let query =
        "SELECT producer_id, count(*) AS n FROM predictions WHERE correct GROUP BY producer_id ORDER BY 1";
    let info = in_time("the query", client.execute(query.to_owned(), None)).await.expect("a result");
    let batches = fetch(&mut client, info).await;
    let counts: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(counts.len(), 3, "{}", text(&batches));
    // Of every seven predictions one is wrong.
    assert_eq!(counts.iter().sum::<i64>(), 3_000 - 3_000_i64.div_euclid(7) - 1, "{}", text(&batches));

    let mut prepared =
        client.prepare("SELECT max(sequence) FROM predictions".to_owned(), None).await.expect("a plan");
    let info = in_time("the prepared query", prepared.execute()).await.expect("a result");
    let batches = fetch(&mut client, info).await;
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 999);

    let error = client.execute("SELECT * FROM nowhere".to_owned(), None).await.expect_err("no such table");
    assert!(error.to_string().contains("nowhere"), "{error}");

    // Errors of tasks carry data for clients of ours; others see the sentence.
    let failing = "SELECT CAST(label AS INT) AS n FROM predictions".to_owned();
    let error = in_time("the cast", client.execute(failing, None)).await.expect_err("labels are no numbers");
    let told = error.to_string();
    assert!(told.contains("Cannot cast") && !told.contains("firesteel-error"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_ballista_client_queries_files() {
    let Some(world) = World::new("cluster-stock", 10, 1).await else { return };
    let cluster = Cluster::start(world.settings(), 2).await;
    let folder = cluster.folder().join("table");
    std::fs::create_dir(&folder).expect("a folder");
    for part in 0..3 {
        let rows: String = (0..100).map(|row| format!("{},{}\n", row % 4, part * 100 + row)).collect();
        std::fs::write(folder.join(format!("{part}.csv")), format!("key,value\n{rows}")).expect("a file");
    }

    let url = format!("http://{}", cluster.address());
    let stock = SessionContext::new_with_state(SessionState::new_ballista_state(url).expect("a state"));
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true')",
        folder.display()
    );
    stock.sql(&create).await.expect("a table").collect().await.expect("a table");
    let query = async {
        stock.sql("SELECT key, sum(value) AS s FROM t GROUP BY key ORDER BY key").await?.collect().await
    };
    let batches = in_time("the query", query).await.expect("rows");
    let sums: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    let expected: Vec<i64> = (0..4).map(|key| (0..300).filter(|row| row % 4 == key).sum()).collect();
    assert_eq!(sums, expected, "{}", text(&batches));
    assert_eq!(batches[0].column(0).null_count(), 0);
}
