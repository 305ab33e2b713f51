//! Tables over collections out of statements:
//! `CREATE EXTERNAL TABLE t [(columns)] STORED AS MONGODB LOCATION 'collection' OPTIONS (…)`.
//!
//! Without columns the schema is inferred from a sample, in the process that runs the statement; afterwards it
//! travels with the plans. With columns their names are compared with those in a sample: one that misses a field by a capital
//! is refused.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use bson::{RawDocumentBuf, doc};
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::CreateExternalTable;
use futures::TryStreamExt;

use super::infer::Shape;
use super::table::MongoTable;
use crate::config::ReadMode;
use crate::connectors::mongodb::config::location::Location;
use crate::connectors::mongodb::config::{self, TableOptions};
use crate::connectors::mongodb::connection::Connections;
use crate::connectors::mongodb::connection::{Connection, retry};
use crate::connectors::mongodb::schema;
use crate::connectors::mongodb::schema::names::near_miss;
use crate::{Error, Result};

/// How long a table with declared columns waits for documents to compare the names with.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes tables over collections.
#[derive(Debug)]
pub(crate) struct MongoTableFactory {
    connections: Connections,
    /// The settings that a statement leaves open.
    defaults: TableOptions,
}

impl MongoTableFactory {
    /// A factory whose tables are read through `connections`; what a statement does not say is as in `defaults`.
    pub(crate) fn new(connections: Connections, defaults: TableOptions) -> Self {
        Self { connections, defaults }
    }

    /// The table that a statement describes.
    async fn table(&self, statement: &CreateExternalTable) -> Result<MongoTable> {
        let refused = |option: &str, message: &str| Err(Error::invalid_option(option, message));
        let [location] = statement.locations.as_slice() else {
            return refused("LOCATION", "a table reads one collection");
        };
        if !statement.table_partition_cols.is_empty() {
            return refused("PARTITIONED BY", "a scan is cut into ranges of `_id`");
        }
        if !statement.order_exprs.is_empty() {
            return refused("WITH ORDER", "documents of several partitions have no order");
        }
        if statement.unbounded {
            return refused("UNBOUNDED", "a collection is read as of one moment");
        }
        let location = Location::parse(location)?;
        let options = config::parse(&statement.options, self.defaults.clone())?;
        let declared = Arc::clone(statement.schema.inner());
        let declared = (!declared.fields().is_empty()).then_some(declared);
        open(&self.connections, &location, options, declared.as_deref()).await
    }
}

#[async_trait]
impl TableProviderFactory for MongoTableFactory {
    async fn create(
        &self,
        _: &dyn Session,
        statement: &CreateExternalTable,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.table(statement).await?))
    }
}

/// The table over the collection at `location`, with the columns in `declared` or, without, inferred ones.
pub(crate) async fn open(
    connections: &Connections,
    location: &Location,
    options: TableOptions,
    declared: Option<&Schema>,
) -> Result<MongoTable> {
    let connection = connections.named(&options.connection)?;
    let database = location.database.as_deref().unwrap_or_else(|| connection.default_database());
    connection.check_place(database, &location.collection)?;
    let columns = match declared {
        Some(declared) => {
            let declared = schema::normalize(declared);
            check_names(&connection, database, location, &options, &declared).await?;
            declared
        }
        None => {
            let ask = || infer(&connection, database, &location.collection, options.sample_size);
            let columns = retry::retry_transient(connection.timeout(), ask).await?;
            if columns.fields().is_empty() {
                let message = format!(
                    "collection `{database}.{}` has no documents to infer columns from; declare the columns",
                    location.collection
                );
                return Err(Error::invalid_option("columns", message));
            }
            with_corrupt_record(columns, &options)
        }
    };
    let columns = match &options.schema_hints {
        Some(hints) => {
            let invalid = |message: String| Error::invalid_option("schemaHints", message);
            let hints = schema::hints::hints(hints).map_err(invalid)?;
            if let Some(miss) = near_miss(&hints, &columns) {
                return Err(invalid(miss.message()));
            }
            schema::with_hints(&columns, &hints)
        }
        None => columns,
    };
    MongoTable::new(
        connections.clone(),
        &options.connection,
        database,
        &location.collection,
        Arc::new(columns),
        options.scan,
    )
    .map(|table| table.with_write(options.write))
}

/// Refuses declared columns that miss a field of the documents by a capital. A server that does not answer in time is left to
/// the queries.
async fn check_names(
    connection: &Connection,
    database: &str,
    location: &Location,
    options: &TableOptions,
    declared: &Schema,
) -> Result<()> {
    let sampled = infer(connection, database, &location.collection, options.sample_size);
    match tokio::time::timeout(NAMES_TIMEOUT, sampled).await {
        Ok(Ok(sampled)) => match near_miss(declared, &sampled) {
            Some(miss) => Err(Error::InvalidSchema {
                collection: location.collection.clone(),
                field: miss.declared.clone(),
                message: miss.message(),
            }),
            None => Ok(()),
        },
        Ok(Err(error)) => {
            tracing::debug!(%error, collection = location.collection, "cannot compare names with those of documents");
            Ok(())
        }
        Err(_) => {
            tracing::debug!(
                collection = location.collection,
                "names are not compared: the server does not answer"
            );
            Ok(())
        }
    }
}

/// An inferred schema has the corrupt-record column where the options name it.
fn with_corrupt_record(columns: Schema, options: &TableOptions) -> Schema {
    let name = options.scan.corrupt_record_column.as_str();
    if options.scan.mode != ReadMode::Permissive || !options.names_corrupt_record {
        return columns;
    }
    let column = Schema::new(vec![Field::new(name, DataType::Utf8, true)]);
    schema::with_hints(&columns, &column)
}

/// The columns of a random sample of `size` documents, or of all where there are not more.
async fn infer(
    connection: &Connection,
    database: &str,
    collection: &str,
    size: u64,
) -> DataFusionResult<Schema> {
    let failed = |error: &mongodb::error::Error| connection.failed("aggregate", collection, error);
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let pipeline = [doc! { "$sample": { "size": size } }];
    let mut documents = connection
        .database(database)
        .await?
        .collection::<RawDocumentBuf>(collection)
        .aggregate(pipeline)
        .allow_disk_use(true)
        .with_type::<RawDocumentBuf>()
        .await
        .map_err(|error| failed(&error))?;
    let mut shape = Shape::default();
    while let Some(document) = documents.try_next().await.map_err(|error| failed(&error))? {
        shape.observe(&document).map_err(|error| Error::MongoDb {
            operation: "aggregate",
            collection: collection.to_owned(),
            message: format!("a document is not valid BSON: {error}"),
        })?;
    }
    let (columns, skipped) = shape.schema();
    for field in skipped {
        tracing::warn!(
            collection,
            field,
            "a field cannot be a column: its name means something else to MongoDB"
        );
    }
    Ok(columns)
}
