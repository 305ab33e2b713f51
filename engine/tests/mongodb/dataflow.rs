//! The map / reduce API returns the same rows as the equivalent SQL.

use firesteel_engine::Error;
use firesteel_engine::prelude::*;

use crate::{Fixture, predictions};

#[tokio::test(flavor = "multi_thread")]
async fn map_and_reduce_by_key_equal_sql() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("dataflow").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(1_000, 3)).await?;
    let session = &fixture.session;

    let wrong = session
        .table("predictions")
        .await?
        .map(col("producer_id"), not(col("correct")).cast_to_i64())
        .reduce_by_key(Reducer::Sum)?
        .collect()
        .await?;
    let mut wrong = wrong.typed::<(String, i64)>()?;
    wrong.sort();
    let sql = "SELECT producer_id, sum(CAST(NOT correct AS BIGINT)) FROM predictions GROUP BY 1 ORDER BY 1";
    assert_eq!(wrong, session.sql(sql).await?.collect_as::<(String, i64)>().await?);
    assert_eq!(wrong.len(), 3);

    let table = || session.table("predictions");
    let mut several: Vec<(String, String, i64, f64, f64)> = table()
        .await?
        .filter(col("label").eq(lit("cat")))?
        .map((col("producer_id"), col("predicted")), (lit(1), col("confidence"), col("confidence")))
        .reduce_by_key((Reducer::Count, Reducer::Min, Reducer::Max))?
        .collect_as()
        .await?;
    several.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let sql = "SELECT producer_id, predicted, count(1), min(confidence), max(confidence) FROM predictions \
               WHERE label = 'cat' GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(several, session.sql(sql).await?.collect_as().await?);

    let mut counts =
        table().await?.map(col("label"), lit(1)).count_by_key()?.collect_as::<(String, i64)>().await?;
    counts.sort();
    assert_eq!(counts.len(), 10);
    assert!(counts.iter().all(|(_, count)| *count == 100), "{counts:?}");
    assert_eq!(table().await?.count().await?, 1_000);

    let error =
        table().await?.map(col("label"), (lit(1), lit(2))).reduce_by_key(vec![Reducer::Sum]).unwrap_err();
    assert!(matches!(error, Error::Reducers { values: 2, reducers: 1 }));
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_all_kinds_run_on_the_executor() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("functions").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(400, 2)).await?;
    let sql = "SELECT producer_id, count(DISTINCT label), array_length(array_agg(DISTINCT label)), \
               max(upper(label)), round(stddev(confidence), 6) > 0 FROM predictions GROUP BY 1 ORDER BY 1";
    let rows = fixture.session.sql(sql).await?.collect_as::<(String, i64, i64, String, bool)>().await?;
    assert_eq!(rows.len(), 2);
    for (_, labels, array, longest, spread) in rows {
        assert_eq!((labels, array, spread), (5, 5, true));
        assert!(["TRUCK", "SHIP"].contains(&longest.as_str()), "{longest}");
    }
    let sql = "SELECT sum(n) FROM (SELECT row_number() OVER (PARTITION BY producer_id ORDER BY sequence) AS n \
               FROM predictions)";
    let rows = fixture.session.sql(sql).await?.collect_as::<(i64,)>().await?;
    assert_eq!(rows, [(2 * 200 * 201 / 2,)]);
    fixture.session.shutdown().await;
    Ok(())
}
