//! Each operator of the map / reduce API on an embedded engine over MongoDB, compared with plain Rust over the same
//! documents.

use std::collections::{BTreeMap, BTreeSet};

use bson::Document;
use firesteel_engine::dataflow::Rows;
use firesteel_engine::prelude::*;
use firesteel_testkit::cifar::CLASSES;

use crate::{Fixture, predictions};

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap()
}

fn sorted<T: PartialOrd>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
    rows
}

/// Groups the values by key, in the order of the documents.
fn grouped<'a, V>(
    documents: &'a [Document],
    key: &str,
    value: impl Fn(&'a Document) -> V,
) -> BTreeMap<String, Vec<V>> {
    let mut groups: BTreeMap<String, Vec<V>> = BTreeMap::new();
    for document in documents {
        groups.entry(text(document, key).to_owned()).or_default().push(value(document));
    }
    groups
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_and_groups_by_key() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("operators-keys").await? else { return Ok(()) };
    let documents = predictions(1_000, 3);
    fixture.fill("predictions", true, &documents).await?;
    let table = || fixture.session.table("predictions");
    let confidence = |document: &Document| document.get_f64("confidence").unwrap();
    let by_producer = grouped(&documents, "producer_id", confidence);

    let rows: Vec<(String, f64, f64, i64)> = table()
        .await?
        .map(col("producer_id"), col("confidence"))
        .aggregate_by_key(|value| {
            (median(value[0].clone()), max(value[0].clone()), count_distinct(value[0].clone()))
        })?
        .sort_by(col("producer_id"), true)?
        .collect_as()
        .await?;
    let expected: Vec<_> = by_producer
        .iter()
        .map(|(producer, values)| {
            let values = sorted(values.clone());
            let middle = values.len() / 2;
            let median = if values.len() % 2 == 1 {
                values[middle]
            } else {
                (values[middle - 1] + values[middle]) / 2.0
            };
            let distinct: BTreeSet<u64> = values.iter().map(|value| value.to_bits()).collect();
            (producer.clone(), median, values[values.len() - 1], distinct.len() as i64)
        })
        .collect();
    assert_eq!(rows, expected);

    let pairs = table().await?.map(col("label"), (col("sequence"), col("predicted")));
    let groups: Vec<(String, Vec<i64>, Vec<String>)> = pairs.group_by_key()?.collect_as().await?;
    let groups: Vec<_> = groups
        .into_iter()
        .map(|(key, sequences, predicted)| (key, sorted(sequences), sorted(predicted)))
        .collect();
    let sequences = grouped(&documents, "label", |document| document.get_i64("sequence").unwrap());
    let predicted = grouped(&documents, "label", |document| text(document, "predicted").to_owned());
    let expected: Vec<_> = sequences
        .into_iter()
        .zip(predicted.into_values())
        .map(|((key, sequences), predicted)| (key, sorted(sequences), sorted(predicted)))
        .collect();
    assert_eq!(sorted(groups), expected);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_map_returns_a_pair_for_each_element() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("operators-flat").await? else { return Ok(()) };
    let documents = predictions(900, 3);
    fixture.fill("predictions", true, &documents).await?;
    let session = &fixture.session;

    let both = make_array(vec![col("label"), col("predicted")]);
    let counts: Vec<(String, String, i64)> = session
        .table("predictions")
        .await?
        .flat_map(col("producer_id"), both)?
        .filter(col("value_0").not_eq(lit("cat")))?
        .rows()?
        .map((col("producer_id"), col("value_0")), lit(1))
        .count_by_key()?
        .collect_as()
        .await?;
    let mut expected: BTreeMap<(String, String), i64> = BTreeMap::new();
    for document in &documents {
        for field in ["label", "predicted"] {
            let name = text(document, field).to_owned();
            if name != "cat" {
                *expected.entry((text(document, "producer_id").to_owned(), name)).or_default() += 1;
            }
        }
    }
    let expected: Vec<_> = expected.into_iter().map(|((a, b), n)| (a, b, n)).collect();
    assert_eq!(sorted(counts), expected);

    // A row without elements gives no pair; a null element gives one.
    let lists = "SELECT * FROM (VALUES ('a', [1, NULL, 3]), ('b', []), ('c', NULL)) AS t(k, l)";
    let pairs = session.sql(lists).await?.flat_map(col("k"), col("l"))?;
    let pairs: Vec<(String, Option<i64>)> = pairs.collect_as().await?;
    let expected = [("a".to_owned(), None), ("a".to_owned(), Some(1)), ("a".to_owned(), Some(3))];
    assert_eq!(sorted(pairs), expected);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_by_key() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("operators-join").await? else { return Ok(()) };
    let documents = predictions(600, 4);
    fixture.fill("predictions", true, &documents).await?;
    let session = &fixture.session;
    // A key of the right side only, one of the left side only (ab000003), and a null on each side.
    let names = "SELECT * FROM (VALUES ('ab000000', 'zero'), ('ab000001', 'one'), ('ab000002', 'two'), \
                 ('nobody', 'none'), (CAST(NULL AS VARCHAR), 'null')) AS names(id, name)";
    let wrong = async || {
        let wrong = session.table("predictions").await?;
        let wrong = wrong.map(col("producer_id"), not(col("correct")).cast_to_i64());
        anyhow::Ok(wrong.reduce_by_key(Reducer::Sum)?.map(col("producer_id"), col("value_0")))
    };
    let names = async || anyhow::Ok(session.sql(names).await?.map(col("id"), col("name")));
    let counts = grouped(&documents, "producer_id", |d| i64::from(!d.get_bool("correct").unwrap()));
    let count = |key: &str| counts.get(key).map(|wrong| wrong.iter().sum::<i64>());
    let row = |key: Option<&str>, name: Option<&str>| {
        (key.map(str::to_owned), key.and_then(count), name.map(str::to_owned))
    };
    type Row = (Option<String>, Option<i64>, Option<String>);
    let both = vec![
        row(Some("ab000000"), Some("zero")),
        row(Some("ab000001"), Some("one")),
        row(Some("ab000002"), Some("two")),
    ];
    let left = row(Some("ab000003"), None);
    let right = [row(None, Some("null")), row(Some("nobody"), Some("none"))];

    let inner: Vec<Row> = wrong().await?.join(names().await?)?.collect_as().await?;
    assert_eq!(sorted(inner), sorted(both.clone()));
    let outer: Vec<Row> = wrong().await?.left_outer_join(names().await?)?.collect_as().await?;
    assert_eq!(sorted(outer), sorted([both.clone(), vec![left.clone()]].concat()));
    let outer: Vec<Row> = wrong().await?.right_outer_join(names().await?)?.collect_as().await?;
    assert_eq!(sorted(outer), sorted([both.clone(), right.to_vec()].concat()));
    let outer: Vec<Row> = wrong().await?.full_outer_join(names().await?)?.collect_as().await?;
    assert_eq!(sorted(outer), sorted([both, vec![left], right.to_vec()].concat()));

    // A join of two large sides by a key of two parts, followed by a reduction.
    let side = async || {
        let table = session.table("predictions").await?;
        anyhow::Ok(table.map((col("producer_id"), col("label")), col("sequence")))
    };
    let pairs: Vec<(String, i64)> = side()
        .await?
        .join(side().await?)?
        .rows()?
        .map(col("label"), lit(1))
        .count_by_key()?
        .collect_as()
        .await?;
    let keys = grouped(&documents, "label", |d| text(d, "producer_id").to_owned());
    let expected: Vec<(String, i64)> = keys
        .into_iter()
        .map(|(label, producers)| {
            let mut sizes: BTreeMap<&str, i64> = BTreeMap::new();
            producers.iter().for_each(|producer| *sizes.entry(producer).or_default() += 1);
            (label, sizes.values().map(|size| size * size).sum())
        })
        .collect();
    assert_eq!(sorted(pairs), expected);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn order_take_union_distinct_and_projections() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("operators-rows").await? else { return Ok(()) };
    let documents = predictions(700, 2);
    fixture.fill("predictions", true, &documents).await?;
    let table = || fixture.session.table("predictions");
    let typed = |rows: Rows| rows.typed::<(String, i64)>();

    let mut expected: Vec<(String, i64)> = documents
        .iter()
        .map(|d| (text(d, "producer_id").to_owned(), d.get_i64("sequence").unwrap()))
        .collect();
    expected.sort();
    let pairs = async || anyhow::Ok(table().await?.map(col("producer_id"), col("sequence")));
    let all = pairs().await?.rows()?.sort_by((col("producer_id"), col("value_0")), true)?;
    assert_eq!(typed(all.collect().await?)?, expected);
    let last = pairs().await?.rows()?.sort_by((col("producer_id"), col("value_0")), false)?;
    let last = typed(last.take(5).await?)?;
    assert_eq!(last, expected.iter().rev().take(5).cloned().collect::<Vec<_>>());
    assert_eq!(table().await?.take(3).await?.len(), 3);
    assert_eq!(table().await?.limit(10_000)?.count().await?, 700);
    assert_eq!(pairs().await?.count().await?, 700);
    let by_key = pairs().await?.sort_by_key(false)?.collect_as::<(String, i64)>().await?;
    assert!(by_key.is_sorted_by(|a, b| a.0 >= b.0));

    let column = async |name: &str| anyhow::Ok(table().await?.select(col(name))?);
    let both = column("label").await?.union(column("predicted").await?)?;
    assert_eq!(both.clone().count().await?, 1_400);
    let names: Vec<(String,)> = both.distinct()?.collect_as().await?;
    let expected: Vec<_> = BTreeSet::from(CLASSES).into_iter().map(|name| (name.to_owned(),)).collect();
    assert_eq!(sorted(names), expected);

    let keys: Vec<(String,)> = pairs().await?.keys()?.collect_as().await?;
    assert_eq!(keys.len(), 700);
    let doubled = pairs().await?.map_values(|value| value[0].clone() * lit(2_i64)).values()?;
    let doubled: Vec<(i64,)> = doubled.collect_as().await?;
    assert_eq!(doubled.iter().map(|row| row.0).sum::<i64>(), 2 * 2 * (0..350).sum::<i64>());
    fixture.session.shutdown().await;
    Ok(())
}
