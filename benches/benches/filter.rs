//! Filter translation: the expressions that the optimizer hands to a scan, as MongoDB's filter.
//!
//! Planning asks for it a few times a query, so it has to vanish beside one round trip to the server.

mod common;

use std::hint::black_box;
use std::slice::from_ref;
use std::sync::Arc;

use anyhow::ensure;
use arrow::datatypes::SchemaRef;
use criterion::{Criterion, Throughput};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionContext;
use firesteel_engine::{documents, predictions_schema};

/// All of each can be pushed.
const PREDICATES: [(&str, &str); 4] = [
    ("comparison", "producer_id = '7ff8c9c1'"),
    ("list", "label IN ('bird', 'cat', 'deer', 'dog', 'frog') AND NOT correct"),
    (
        "ranges",
        "produced_at BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-02T00:00:00Z' AND sequence < 1000 \
         AND confidence > 0.5",
    ),
    ("patterns", "model LIKE 'resnet18-%' OR predicted LIKE '%mobile' OR label IS NULL"),
];

fn main() -> anyhow::Result<()> {
    common::run(measure)
}

fn measure(criterion: &mut Criterion) -> anyhow::Result<()> {
    let schema = predictions_schema();
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Elements(1));
    for (name, predicate) in PREDICATES {
        let filters = filters(predicate, &schema)?;
        ensure!(
            filters.iter().all(|filter| documents::filter(from_ref(filter), &schema).is_some()),
            "a part of {predicate} is not pushed: {filters:?}"
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| documents::filter(black_box(&filters), &schema));
        });
    }
    group.finish();
    Ok(())
}

/// The filters that the optimizer makes of a predicate in SQL: coerced, simplified and taken apart at its ANDs.
fn filters(predicate: &str, schema: &SchemaRef) -> anyhow::Result<Vec<Expr>> {
    let columns = Arc::new(DFSchema::try_from(Arc::clone(schema))?);
    let written = SessionContext::new().parse_sql_expr(predicate, &columns)?;
    let context = SimplifyContext::builder().with_schema(Arc::clone(&columns)).build();
    let simplifier = ExprSimplifier::new(context);
    let filter = simplifier.simplify(simplifier.coerce(written, &columns)?)?;
    Ok(split_conjunction_owned(filter))
}
