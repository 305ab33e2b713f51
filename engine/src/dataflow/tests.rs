//! The logical plan of each operator, which equals the plan of the equivalent SQL.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use super::Dataset;
use crate::prelude::*;

async fn context() -> SessionContext {
    let context = SessionContext::new();
    let columns = vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("score", DataType::Float64, true),
        Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
    ];
    let schema = Arc::new(Schema::new(columns));
    let empty = RecordBatch::new_empty(Arc::clone(&schema));
    let table = MemTable::try_new(schema, vec![vec![empty]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

fn plan(data: Dataset) -> String {
    data.frame.into_optimized_plan().unwrap().display_indent().to_string()
}

/// Asserts that `build`, applied to table `t`, gives the same plan as `sql`, and returns that plan.
async fn check(build: impl FnOnce(Dataset) -> crate::Result<Dataset>, sql: &str) -> String {
    let context = context().await;
    let built = plan(build(Dataset::new(context.table("t").await.unwrap())).unwrap());
    let expected = plan(Dataset::new(context.sql(sql).await.unwrap()));
    assert_eq!(built, expected, "{sql}");
    built
}

#[tokio::test]
async fn reduce_by_key() {
    let sql = "SELECT id, sum(score) AS value_0 FROM t GROUP BY id";
    let plan = check(|t| t.map(col("id"), col("score")).reduce_by_key(Reducer::Sum), sql).await;
    insta::assert_snapshot!(plan, @r"
    Projection: t.id, sum(t.score) AS value_0
      Aggregate: groupBy=[[t.id]], aggr=[[sum(t.score)]]
        TableScan: t projection=[id, score]
    ");
}

#[tokio::test]
async fn count_by_key() {
    let sql = "SELECT id, label, count(1) AS count FROM t GROUP BY id, label";
    let plan = check(|t| t.map((col("id"), col("label")), lit(1)).count_by_key(), sql).await;
    insta::assert_snapshot!(plan, @r"
    Projection: t.id, t.label, count(Int64(1)) AS count
      Aggregate: groupBy=[[t.id, t.label]], aggr=[[count(Int64(1))]]
        TableScan: t projection=[id, label]
    ");
}

#[tokio::test]
async fn aggregate_by_key() {
    let sql = "SELECT id, avg(score) AS value_0, median(score) AS middle FROM t GROUP BY id";
    let build = |t: Dataset| {
        t.map(col("id"), col("score"))
            .aggregate_by_key(|value| (avg(value[0].clone()), median(value[0].clone()).alias("middle")))
    };
    insta::assert_snapshot!(check(build, sql).await, @r"
    Projection: t.id, avg(t.score) AS value_0, median(t.score) AS middle
      Aggregate: groupBy=[[t.id]], aggr=[[avg(t.score), median(t.score)]]
        TableScan: t projection=[id, score]
    ");
}

#[tokio::test]
async fn group_by_key() {
    let sql = "SELECT id, array_agg(label) AS value_0, array_agg(score) AS value_1 FROM t GROUP BY id";
    let plan = check(|t| t.map(col("id"), (col("label"), col("score"))).group_by_key(), sql).await;
    insta::assert_snapshot!(plan, @r"
    Projection: t.id, array_agg(t.label) AS value_0, array_agg(t.score) AS value_1
      Aggregate: groupBy=[[t.id]], aggr=[[array_agg(t.label), array_agg(t.score)]]
        TableScan: t projection=[id, label, score]
    ");
}

#[tokio::test]
async fn map_filter_and_map_values() {
    let sql = "SELECT id, upper(label) AS key_1, score + 1 AS value_0 FROM t WHERE score > 0.5";
    let build = |t: Dataset| {
        let upper = datafusion::functions::expr_fn::upper(col("label"));
        t.filter(col("score").gt(lit(0.5)))?
            .map((col("id"), upper), col("score"))
            .map_values(|value| value[0].clone() + lit(1_i64))
            .rows()
    };
    insta::assert_snapshot!(check(build, sql).await, @r"
    Projection: t.id, upper(t.label) AS key_1, t.score + Float64(1) AS value_0
      Filter: t.score > Float64(0.5)
        TableScan: t projection=[id, label, score]
    ");
    check(|t| t.map(col("id"), col("score")).keys(), "SELECT id FROM t").await;
    check(|t| t.map(col("id"), col("score")).values(), "SELECT score AS value_0 FROM t").await;
}

#[tokio::test]
async fn flat_map() {
    let sql = "SELECT id, unnest(tags) AS value_0 FROM t";
    let context = context().await;
    let flat = Dataset::new(context.table("t").await.unwrap()).flat_map(col("id"), col("tags")).unwrap();
    // SQL names the column of the lists by a placeholder.
    let expected = plan(Dataset::new(context.sql(sql).await.unwrap()));
    let built = plan(flat.rows().unwrap());
    insta::assert_snapshot!(built, @r"
    Unnest: lists[value_0|depth=1] structs[]
      Projection: t.id, t.tags AS value_0
        TableScan: t projection=[id, tags]
    ");
    insta::assert_snapshot!(expected, @r"
    Projection: t.id, __unnest_placeholder(t.tags,depth=1) AS UNNEST(t.tags) AS value_0
      Unnest: lists[__unnest_placeholder(t.tags)|depth=1] structs[]
        Projection: t.id, t.tags AS __unnest_placeholder(t.tags)
          TableScan: t projection=[id, tags]
    ");
}

#[tokio::test]
async fn joins() {
    let context = context().await;
    let pairs = async |value: &str| {
        let table = context.table("t").await.unwrap();
        Dataset::new(table).map(col("id"), col(value))
    };
    let inner = pairs("score").await.join(pairs("label").await).unwrap();
    insta::assert_snapshot!(plan(inner.rows().unwrap()), @r"
    Projection: left_key_0 AS id, left_value_0 AS value_0, right_value_0 AS value_1
      Inner Join: left_key_0 = right_key_0
        Projection: t.id AS left_key_0, t.score AS left_value_0
          TableScan: t projection=[id, score]
        Projection: t.id AS right_key_0, t.label AS right_value_0
          TableScan: t projection=[id, label]
    ");
    let full = pairs("score").await.full_outer_join(pairs("label").await).unwrap();
    insta::assert_snapshot!(plan(full.rows().unwrap()), @r"
    Projection: CASE WHEN left_key_0 IS NOT NULL THEN left_key_0 ELSE right_key_0 END AS id, left_value_0 AS value_0, right_value_0 AS value_1
      Full Join: left_key_0 = right_key_0
        Projection: t.id AS left_key_0, t.score AS left_value_0
          TableScan: t projection=[id, score]
        Projection: t.id AS right_key_0, t.label AS right_value_0
          TableScan: t projection=[id, label]
    ");

    let two = Dataset::new(context.table("t").await.unwrap()).map((col("id"), col("label")), lit(1));
    let error = two.join(pairs("score").await).unwrap_err();
    assert!(matches!(error, crate::Error::Keys { left: 2, right: 1 }), "{error}");
}

#[tokio::test]
async fn sort_by_and_limit() {
    let sql = "SELECT id, score FROM t ORDER BY score DESC NULLS LAST, id DESC NULLS LAST LIMIT 3";
    let build =
        |t: Dataset| t.select((col("id"), col("score")))?.sort_by((col("score"), col("id")), false)?.limit(3);
    insta::assert_snapshot!(check(build, sql).await, @r"
    Sort: t.score DESC NULLS LAST, t.id DESC NULLS LAST, fetch=3
      TableScan: t projection=[id, score]
    ");
    let sql = "SELECT id, score AS value_0 FROM t ORDER BY id ASC NULLS FIRST";
    check(|t| t.map(col("id"), col("score")).sort_by_key(true), sql).await;
}

#[tokio::test]
async fn union_and_distinct() {
    let sql = "SELECT DISTINCT * FROM (SELECT id FROM t UNION ALL SELECT label FROM t)";
    let context = context().await;
    let column = async |name: &str| {
        let table = context.table("t").await.unwrap();
        Dataset::new(table).select(col(name)).unwrap()
    };
    let both = column("id").await.union(column("label").await).unwrap().distinct().unwrap();
    let both = plan(both);
    assert_eq!(both, plan(Dataset::new(context.sql(sql).await.unwrap())));
    insta::assert_snapshot!(both, @r"
    Aggregate: groupBy=[[id]], aggr=[[]]
      Union
        TableScan: t projection=[id]
        Projection: t.label AS id
          TableScan: t projection=[label]
    ");
}
