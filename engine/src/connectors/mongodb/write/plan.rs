//! Plans an `INSERT INTO`: checks that the key is one, then puts the writers over the rows and their sum on top.

use std::sync::Arc;

use bson::{Bson, Document, doc};
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use futures::TryStreamExt;

use super::encode::Encoder;
use super::exec::{MongoWriteExec, WriteSpec};
use super::source;
use crate::Error;
use crate::connectors::mongodb::connection::{Connection, retry};

/// The plan that writes the rows of `input` and yields how many there were.
pub(crate) async fn plan(
    spec: WriteSpec,
    connection: Arc<Connection>,
    input: Arc<dyn ExecutionPlan>,
    operation: InsertOp,
) -> Result<Arc<dyn ExecutionPlan>> {
    let invalid = |message: String| Error::InvalidWrite { collection: spec.collection.clone(), message };
    // REPLACE INTO says what INSERT INTO does here.
    if operation == InsertOp::Overwrite {
        let message = "INSERT OVERWRITE is not supported: INSERT INTO replaces the documents whose keys it writes, \
                       and no others";
        return Err(invalid(message.to_owned()).into());
    }
    // A key that the table has no column for is told here, not by an executor.
    Encoder::new(&spec.collection, &spec.schema, &spec.config)?;
    let (expected, found) = (spec.schema.fields().len(), input.schema().fields().len());
    // An empty relation forgets its columns on its way to the scheduler.
    let empty = found == 0 && input.downcast_ref::<EmptyExec>().is_some();
    if expected != found && !empty {
        return Err(invalid(format!("the table has {expected} columns, the rows have {found}")).into());
    }
    if spec.config.key_fields != ["_id"] {
        let indexes = retry::retry_transient(connection.timeout(), || indexes(&connection, &spec)).await?;
        if !indexes.iter().any(|index| is_unique_on(index, &spec.config.key_fields)) {
            let message = format!(
                "the key fields ({}) need a unique index on exactly these fields: without one, a task that is tried \
                 again may write a document twice",
                spec.config.key_fields.join(", ")
            );
            return Err(invalid(message).into());
        }
    }
    let (schema, input) =
        if empty { (Arc::clone(&spec.schema), input) } else { source::write_back(&spec, input)? };
    let spec = WriteSpec { schema, ..spec };
    // What this statement writes must not be overwritten by a task of an earlier one.
    connection.fence().pass().await;
    let write = Arc::new(MongoWriteExec::of(spec, connection, input));
    let counts = write.schema();
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("count", &counts)?])
        .schema(Arc::clone(&counts))
        .alias("count")
        .build()?;
    let all = Arc::new(CoalescePartitionsExec::new(write));
    let groups = PhysicalGroupBy::new_single(vec![]);
    let sum =
        AggregateExec::try_new(AggregateMode::Single, groups, vec![Arc::new(sum)], vec![None], all, counts)?;
    Ok(Arc::new(sum))
}

/// The indexes of the collection; none where it does not exist yet.
async fn indexes(connection: &Connection, spec: &WriteSpec) -> Result<Vec<Document>> {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    let failed = |error: &mongodb::error::Error| connection.failed("listIndexes", &spec.collection, error);
    let database = connection.database(&spec.database).await?;
    let cursor = match database.run_cursor_command(doc! { "listIndexes": &spec.collection }).await {
        Ok(cursor) => cursor,
        Err(error) => {
            return match error.kind.as_ref() {
                mongodb::error::ErrorKind::Command(command) if command.code == NAMESPACE_NOT_FOUND => {
                    Ok(Vec::new())
                }
                _ => Err(failed(&error)),
            };
        }
    };
    cursor.try_collect().await.map_err(|error| failed(&error))
}

/// Whether an index lets no two documents have the same values of `fields`, and finds one by them.
fn is_unique_on(index: &Document, fields: &[String]) -> bool {
    let flag =
        |name: &str| matches!(index.get(name), Some(Bson::Boolean(true) | Bson::Int32(1) | Bson::Int64(1)));
    let partial = index.contains_key("partialFilterExpression") || index.contains_key("collation");
    let Ok(key) = index.get_document("key") else { return false };
    flag("unique") && !partial && key.len() == fields.len() && key.keys().all(|field| fields.contains(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_unique_index_on_exactly_the_key_fields_is_a_key() {
        let fields = ["a".to_owned(), "b".to_owned()];
        for (index, expected) in [
            (doc! { "key": { "a": 1, "b": -1 }, "unique": true }, true),
            (doc! { "key": { "b": 1, "a": 1 }, "unique": true }, true),
            (doc! { "key": { "a": 1, "b": 1 } }, false),
            (doc! { "key": { "a": 1 }, "unique": true }, false),
            (doc! { "key": { "a": 1, "b": 1, "c": 1 }, "unique": true }, false),
            (doc! { "key": { "a": 1, "b": 1 }, "unique": true, "partialFilterExpression": {} }, false),
            (doc! { "key": { "a": 1, "b": 1 }, "unique": true, "collation": { "locale": "de" } }, false),
        ] {
            assert_eq!(is_unique_on(&index, &fields), expected, "{index}");
        }
    }
}
